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

-- The application's own tables, of a role that is not the extension's. Whoever registers a table for erasing must own it and be a DBA.
SELECT 'CREATE ROLE app_owner' WHERE to_regrole('app_owner') IS NULL \gexec
GRANT app_owner TO dba_demo;
CREATE SCHEMA IF NOT EXISTS app AUTHORIZATION app_owner;
CREATE TABLE IF NOT EXISTS app.notes (
    note_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    candidate_id uuid        NOT NULL,
    written_at   timestamptz NOT NULL DEFAULT now(),
    body         text        NOT NULL
);
ALTER TABLE app.notes OWNER TO app_owner;
CREATE INDEX IF NOT EXISTS notes_candidate ON app.notes (candidate_id);
ALTER TABLE app.notes ALTER COLUMN body SET STATISTICS 0; -- ANALYZE would copy pieces of the texts into pg_statistic
GRANT USAGE ON SCHEMA app TO gw_onbox;
GRANT SELECT, INSERT ON app.notes TO gw_onbox;

-- From here on as the DBA, who may do nothing but that.
\connect - dba_demo
SET client_min_messages = warning;

-- Texts to consent under and a schedule of destruction, each unless there is one.
INSERT INTO identity.consent_versions (version, kind, valid_for, template_hash, template_path)
SELECT version, kind, valid_for, encode(sha256(convert_to(content, 'UTF8')), 'hex'), 'playground/' || kind || '.md'
  FROM (VALUES ('playground', 'general', interval '2 years', 'We keep your data to find you work.'),
               ('playground-biometric', 'biometric', interval '2 years', 'We measure your face to open the gate for you.'),
               ('playground-schedule', 'retention_schedule', NULL, 'Two years after we last heard from you we destroy what we know of you, your face after one.')
       ) AS texts (version, kind, valid_for, content)
 WHERE NOT EXISTS (SELECT FROM identity.consent_versions AS c WHERE c.kind = texts.kind);

-- How long each kind of person is kept under it. Without a policy nobody's time runs out, and no request can be authorised.
INSERT INTO identity.retention_policies (vertical, kind, days, schedule_version)
SELECT vertical, kinds.kind, days, version
  FROM unnest(ARRAY['unknown', 'general', 'healthcare', 'finance', 'other']) AS vertical,
       (VALUES ('general', 730), ('biometric', 365)) AS kinds (kind, days),
       identity.consent_versions AS schedule
 WHERE schedule.kind = 'retention_schedule' AND effective_at <= now() AND (superseded_at IS NULL OR superseded_at > now())
    ON CONFLICT (vertical, kind) DO NOTHING;

SELECT identity.forget_register('app.notes', 'candidate_id', 'delete')
 WHERE NOT EXISTS (SELECT FROM identity.forget_tables WHERE relation = 'app.notes'::regclass);
