-- What the worker does with notices. These are the channels from now on; answers with how many notices wait for one of them.
CREATE FUNCTION identity.outbox_serve(channels text[]) RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'outbox_serve';

-- What is to be sent to a channel now.
CREATE FUNCTION identity.outbox_take(channel text, max int DEFAULT 100) RETURNS TABLE (access_id bigint, payload jsonb, attempts int)
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'outbox_take';

-- It arrived. Answers with how many of them waited.
CREATE FUNCTION identity.outbox_delivered(channel text, access_ids bigint[]) RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'outbox_delivered';

-- It did not: they wait for the next attempt, or were tried often enough. Answers with how many of them are dead now.
CREATE FUNCTION identity.outbox_failed(channel text, access_ids bigint[], error text, wait_seconds int DEFAULT 0) RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'outbox_failed';

-- What is dead is tried again, and what waits is tried now: all of it, that of one channel, or one notice.
CREATE FUNCTION identity.outbox_retry(channel text DEFAULT NULL, access_id bigint DEFAULT NULL) RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'outbox_retry';
