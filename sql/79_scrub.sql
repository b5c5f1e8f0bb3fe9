-- Takes what erasures left behind out of the pages, a part at a time.
CREATE FUNCTION identity.erasure_scrub(max_pages int DEFAULT 10000) RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'erasure_scrub';
