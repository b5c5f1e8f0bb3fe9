-- Drops the months of the log whose time is over: older than log_retention as a whole, sealed and anchored.
CREATE FUNCTION identity.ledger_expire() RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'ledger_expire';
