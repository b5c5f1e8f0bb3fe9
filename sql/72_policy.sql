CREATE FUNCTION identity.purpose_revoke(purpose text, reason text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'purpose_revoke';

-- Does the zone of this call see a subject of that vertical? What the row-level policies ask. It runs no SQL and decides by the session
-- alone, so there is no setting to pin, and pinning would be work on every read.
CREATE FUNCTION identity._zone_sees(vertical text) RETURNS boolean
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', '_zone_sees';
