CREATE FUNCTION identity.purpose_revoke(purpose text, reason text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'purpose_revoke';

CREATE FUNCTION identity.purpose_approve(purpose text, version int) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'purpose_approve';

CREATE FUNCTION identity.my_purposes() RETURNS TABLE (purpose text, fields text[], rate_limit_qps int, daily_volume_cap int)
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'my_purposes';

CREATE FUNCTION identity.caller_revoke(role name, reason text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'caller_revoke';

CREATE FUNCTION identity.caller_reinstate(role name) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'caller_reinstate';

-- Does the zone of this call see a subject of that vertical? What the row-level policies ask. It runs no SQL and decides by the session
-- alone, so there is no setting to pin, and pinning would be work on every read.
CREATE FUNCTION identity._zone_sees(vertical text) RETURNS boolean
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', '_zone_sees';
