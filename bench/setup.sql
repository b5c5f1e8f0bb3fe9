-- Data of one benchmark run. psql variable: subjects.
\set ON_ERROR_STOP on

CREATE ROLE gw_bench LOGIN IN ROLE identity_gateway, identity_zone_onbox;

-- Purposes without the limits that fill_validation has: they would be measured instead. It takes two people, here too. The name of the first is as
-- long as that one's, so that rows stay comparable.
CREATE ROLE dba_bench LOGIN IN ROLE identity_dba;
CREATE ROLE approver_bench LOGIN IN ROLE identity_approver;
SET SESSION AUTHORIZATION dba_bench;
INSERT INTO identity.purpose_definitions (purpose_token, description, allowed_fields, allowed_roles, daily_volume_cap)
  VALUES ('bench_resolving', 'Measure a read', '{name}', '{identity_gateway}', 2147483647),
         ('bench_register', 'Measure registering', '{name,email}', '{identity_gateway}', 2147483647);
SET SESSION AUTHORIZATION approver_bench;
SELECT identity.purpose_approve('bench_resolving', 1), identity.purpose_approve('bench_register', 1);
RESET SESSION AUTHORIZATION;

-- Ids have the shape of a UUID v7 and follow from a number, so that a pgbench script can pick one at random
-- with the same expression on every side.
CREATE FUNCTION public.bench_id(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE
  RETURN ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid;

-- In batches of 500: an import holds its subject's bucket lock until commit. A DO block knows no psql variables.
SELECT set_config('bench.subjects', :'subjects', false);
DO $$
DECLARE
  subjects CONSTANT int := current_setting('bench.subjects')::int;
BEGIN
  FOR low IN 1 .. subjects BY 500 LOOP
    PERFORM identity._import_subject(public.bench_id(n),
              jsonb_build_object('name', 'Bench Worker ' || lpad(n::text, 6, '0'), 'email', 'worker' || n || '@example.test'),
              'general', 'given')
       FROM generate_series(low, least(low + 499, subjects)) AS n;
    COMMIT;
  END LOOP;
END $$;

-- The floor: one statement that reads a ciphertext and inserts an unchained row.
CREATE TABLE public.floor_subjects (candidate_id uuid PRIMARY KEY, name_ct bytea NOT NULL);
INSERT INTO public.floor_subjects SELECT candidate_id, name_ct FROM identity.subjects;
CREATE TABLE public.floor_log (access_id bigserial PRIMARY KEY, accessed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  candidate_id uuid NOT NULL, accessor_kind text NOT NULL, accessor_role name NOT NULL, purpose_token text NOT NULL,
  fields_accessed text[] NOT NULL, request_trace_id text, outcome text NOT NULL, mac bytea NOT NULL);
CREATE INDEX ON public.floor_log (candidate_id);
GRANT SELECT ON public.floor_subjects TO gw_bench;
GRANT SELECT, INSERT ON public.floor_log TO gw_bench; -- RETURNING reads
GRANT USAGE ON SEQUENCE public.floor_log_access_id_seq TO gw_bench;

-- What people write by hand today: pgcrypto, the key a constant in a SECURITY DEFINER function.
CREATE EXTENSION pgcrypto SCHEMA public;
CREATE TABLE public.alt_subjects (candidate_id uuid PRIMARY KEY, iv bytea NOT NULL, name_ct bytea NOT NULL);
INSERT INTO public.alt_subjects
  SELECT public.bench_id(n), iv,
         public.encrypt_iv(convert_to('Bench Worker ' || lpad(n::text, 6, '0'), 'UTF8'), decode(repeat('42', 32), 'hex'), iv, 'aes-cbc')
    FROM (SELECT n, public.gen_random_bytes(16) AS iv FROM generate_series(1, :subjects) AS n) AS numbered;
CREATE TABLE public.alt_a_log (LIKE public.floor_log);
CREATE TABLE public.alt_b_log (LIKE public.floor_log);
CREATE SEQUENCE public.alt_a_seq OWNED BY public.alt_a_log.access_id;
CREATE SEQUENCE public.alt_b_seq OWNED BY public.alt_b_log.access_id;
ALTER TABLE public.alt_a_log ALTER access_id SET DEFAULT nextval('public.alt_a_seq'), ALTER accessed_at SET DEFAULT clock_timestamp(),
  ALTER mac DROP NOT NULL, ADD PRIMARY KEY (access_id);
ALTER TABLE public.alt_b_log ALTER access_id SET DEFAULT nextval('public.alt_b_seq'), ALTER accessed_at SET DEFAULT clock_timestamp(),
  ADD PRIMARY KEY (access_id);
CREATE INDEX ON public.alt_a_log (candidate_id);
CREATE INDEX ON public.alt_b_log (candidate_id);

-- (a) decrypt, and one unchained row.
CREATE FUNCTION public.alt_a(candidate uuid) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found public.alt_subjects;
BEGIN
  SELECT * INTO STRICT found FROM public.alt_subjects WHERE candidate_id = candidate;
  INSERT INTO public.alt_a_log (candidate_id, accessor_kind, accessor_role, purpose_token, fields_accessed, outcome)
    VALUES (candidate, 'gateway_lookup', session_user, 'fill_validation', ARRAY['name'], 'committed');
  RETURN convert_from(public.decrypt_iv(found.name_ct, '\x4242424242424242424242424242424242424242424242424242424242424242'::bytea, found.iv, 'aes-cbc'), 'UTF8');
END $$;

-- (b) the same with one hash chain for everybody: lock, last row by index, HMAC.
CREATE FUNCTION public.alt_b(candidate uuid) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found public.alt_subjects;
  previous bytea;
  at timestamptz;
BEGIN
  SELECT * INTO STRICT found FROM public.alt_subjects WHERE candidate_id = candidate;
  PERFORM pg_advisory_xact_lock(4242);
  SELECT mac INTO previous FROM public.alt_b_log ORDER BY access_id DESC LIMIT 1;
  at := clock_timestamp();
  INSERT INTO public.alt_b_log (accessed_at, candidate_id, accessor_kind, accessor_role, purpose_token, fields_accessed, outcome, mac)
    VALUES (at, candidate, 'gateway_lookup', session_user, 'fill_validation', ARRAY['name'], 'committed',
            public.hmac(coalesce(previous, '') || convert_to(concat_ws('|', at, candidate, 'gateway_lookup', session_user, 'fill_validation', 'name', 'committed'), 'UTF8'),
                        '\x4343434343434343434343434343434343434343434343434343434343434343'::bytea, 'sha256'));
  RETURN convert_from(public.decrypt_iv(found.name_ct, '\x4242424242424242424242424242424242424242424242424242424242424242'::bytea, found.iv, 'aes-cbc'), 'UTF8');
END $$;

REVOKE EXECUTE ON FUNCTION public.alt_a(uuid), public.alt_b(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.alt_a(uuid), public.alt_b(uuid) TO gw_bench;

-- Blocks of 1,000 for the bulk part: ids to resolve, records to register, made beforehand so that no side pays for making them.
CREATE TABLE public.bench_blocks (n int PRIMARY KEY, ids uuid[] NOT NULL, records jsonb NOT NULL);
ALTER TABLE public.bench_blocks ALTER ids SET STORAGE EXTERNAL, ALTER records SET STORAGE EXTERNAL;
INSERT INTO public.bench_blocks
  SELECT block, (SELECT array_agg(public.bench_id(n)) FROM (SELECT n FROM generate_series(1, :subjects) AS n ORDER BY hashint8(n + block * 1000003::bigint) LIMIT 1000) AS drawn),
         (SELECT jsonb_agg(jsonb_build_object('pii', jsonb_build_object('name', 'Bench Worker ' || n, 'email', 'worker' || n || '@example.test'))) FROM generate_series(1, 1000) AS n)
    FROM generate_series(1, :blocks) AS block;
GRANT SELECT ON public.bench_blocks TO gw_bench;
