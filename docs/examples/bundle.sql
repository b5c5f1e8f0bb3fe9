-- Prints a bundle: rows of the log with their proofs, for `identityctl verify bundle`. By a login that may read the log and is an auditor.
--
--   psql -XAtq -v ids='{1,2}' -v checkpoint="$(cat checkpoint)" -f bundle.sql >bundle.json
--
-- `checkpoint` is a signed one of the tree as it is now; leave it out where proofs lead to an anchored one by themselves.
-- The leaf is put together as docs/spec/leaf.md says.
SET row_security = off;
\if :{?checkpoint}
\else
\set checkpoint ''
\endif

WITH leaves AS (
SELECT log.access_id,
       '{' || string_agg(to_json(member.key)::text || ':' || member.json, ',' ORDER BY member.key COLLATE "C") || '}' AS leaf
  FROM identity.pii_access_log AS log
 CROSS JOIN LATERAL (VALUES
       ('schema',              to_json('identity_pgx/access/v1'::text)::text),
       ('access_id',           to_json(log.access_id::text)::text),
       ('lane',                to_json(log.lane::text)::text),
       ('seq',                 to_json(log.seq::text)::text),
       ('accessed_at',         to_json(to_char(log.accessed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))::text),
       ('candidate_id',        to_json(log.candidate_id::text)::text),
       ('accessor_kind',       to_json(log.accessor_kind)::text),
       ('accessor_id',         to_json(log.accessor_id)::text),
       ('accessor_role',       to_json(log.accessor_role::text)::text),
       ('accessor_outer',      to_json(log.accessor_outer::text)::text),
       ('cert_fingerprint',    to_json(encode(log.cert_fingerprint, 'hex'))::text),
       ('application_name',    to_json(log.application_name)::text),
       ('purpose_token',       to_json(log.purpose_token)::text),
       ('purpose_version',     to_json(log.purpose_version::text)::text),
       ('fields_accessed',     '[' || coalesce((SELECT string_agg(to_json(field)::text, ',' ORDER BY field COLLATE "C")
                                                  FROM unnest(log.fields_accessed) AS field), '') || ']'),
       ('phi_fields',          '[' || coalesce((SELECT string_agg(to_json(field)::text, ',' ORDER BY field COLLATE "C")
                                                  FROM unnest(log.phi_fields) AS field), '') || ']'),
       ('request_trace_id',    to_json(log.request_trace_id)::text),
       ('chain_kind',          to_json(log.chain_kind)::text),
       ('is_legal_tier_event', to_json(log.is_legal_tier_event::text)::text),
       ('outcome',             to_json(log.outcome)::text),
       ('denial',              to_json(log.denial)::text),
       ('repeats',             to_json(log.repeats::text)::text),
       ('consent_status',      to_json(log.consent_status)::text),
       ('vertical',            to_json(log.vertical)::text),
       ('zone',                to_json(log.zone)::text),
       ('generation',          to_json(log.generation::text)::text),
       ('key_version',         to_json(log.key_version::text)::text),
       ('chain_version',       to_json(log.chain_version::text)::text),
       ('event_digest',        to_json(encode(log.event_digest, 'hex'))::text)
       ) AS member(key, json)
 WHERE member.json IS NOT NULL AND log.access_id = ANY (:'ids'::bigint[])
 GROUP BY log.access_id
), proofs AS (
SELECT access_id, leaf, identity.ledger_proof(access_id) AS proof FROM leaves
), signed AS (
-- The text of a checkpoint has no empty line: one after it begins the signatures.
SELECT access_id, leaf, CASE
       WHEN :'checkpoint' = '' THEN proof
       ELSE jsonb_set(proof, '{proof}', to_jsonb(split_part(proof ->> 'proof', E'\n\n', 1) || E'\n\n' || :'checkpoint' || E'\n'))
       END AS proof
  FROM proofs
)
SELECT jsonb_build_object('schema', 'identity_pgx/bundle/v1',
                          'rows', jsonb_agg(jsonb_build_object('leaf', leaf, 'proof', proof) ORDER BY access_id))
  FROM signed;
