-- What the playground adds to a fresh installation. Run on every `make up`.
\set ON_ERROR_STOP on
SET client_min_messages = warning; -- a role that already is a member is no news

-- One login per part in the story; docs/howto/playground.md says who may do what.
SELECT format('CREATE ROLE %I LOGIN', name)
  FROM unnest(ARRAY['gw_onbox', 'gw_cloud', 'dba_demo', 'approver_demo', 'reviewer_demo', 'auditor_demo', 'worker_demo']) AS name
 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = name) \gexec

GRANT identity_gateway, identity_zone_onbox TO gw_onbox;
GRANT identity_gateway, identity_zone_cloud TO gw_cloud;
GRANT identity_dba TO dba_demo;
GRANT identity_approver TO approver_demo;
GRANT identity_auditor TO auditor_demo;
GRANT identity_reviewer TO reviewer_demo;
GRANT identity_worker TO worker_demo;

-- Development keys live in shared memory only: needed again after every restart.
SELECT identity.dev_unlock();

-- A text to consent under, unless there is one.
INSERT INTO identity.consent_versions (version, kind, valid_for, template_hash, template_path)
SELECT 'playground', 'general', interval '2 years', encode(sha256('We keep your data to find you work.'), 'hex'), 'consent/playground.md'
 WHERE NOT EXISTS (SELECT FROM identity.consent_versions WHERE kind = 'general');
