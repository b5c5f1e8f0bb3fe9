-- What a gateway does all day.
\set VERBOSITY default
\set SHOW_CONTEXT never
\set grace '''0190a000-0000-7000-8000-000000000001'''
\set ada '''0190a000-0000-7000-8000-000000000002'''
SELECT identity.identity_health();

-- On the box: what the purpose allows, and null for what was not collected.
SET SESSION AUTHORIZATION rg_onbox;
SELECT pii, generation, access_id > 0 AS recorded FROM identity.pii_resolve(:grace, 'rg.contact', '{name,email}', 'trace-1');
SELECT pii FROM identity.pii_resolve(:grace, 'rg.contact', '{phone,name}');
SELECT pii FROM identity.pii_resolve(:ada, 'rg.clinic', '{name,dob,ssn}');
SELECT pii FROM identity.pii_resolve(candidate_id => :grace, purpose => 'rg.contact', fields => '{name}', trace_id => NULL);
SELECT * FROM identity.pii_vertical(:ada);
SELECT * FROM identity.pii_vertical_many(ARRAY[:grace, :ada, :grace]::uuid[]);

-- In the cloud: the same call, other people.
SET SESSION AUTHORIZATION rg_cloud;
SELECT pii FROM identity.pii_resolve(:grace, 'rg.contact', '{name}');
SELECT pii FROM identity.pii_resolve(:ada, 'rg.clinic', '{name}');
SELECT vertical, route FROM identity.pii_vertical(:ada);

-- A new person: health information until somebody says otherwise, and nothing before the first contact.
SELECT identity.pii_register('rg.contact', '{"name": "Katherine Johnson", "email": "kj@example.org", "phone": null}', request_id => '0190a000-0000-4000-8000-00000000000a') AS new \gset
SELECT identity.pii_register('rg.contact', '{"name": "Katherine Johnson"}', request_id => '0190a000-0000-4000-8000-00000000000a') = :'new' AS same_request_same_person;
SELECT substr(:'new', 15, 1) AS uuid_version;
SELECT vertical, consent_status, route, generation FROM identity.pii_vertical(:'new');
SET SESSION AUTHORIZATION rg_onbox;
SELECT pii FROM identity.pii_resolve(:'new', 'rg.contact', '{name}');

-- What is on record of it; only a superuser looks at the table.
SELECT count(*) FROM identity.pii_access_log;
RESET SESSION AUTHORIZATION;
SELECT accessor_role, accessor_outer, accessor_kind, purpose_token, purpose_version, fields_accessed, phi_fields, outcome, vertical, consent_status, zone, request_trace_id, chain_kind, key_version, chain_version, repeats
  FROM identity.pii_access_log WHERE accessor_role IN ('rg_onbox', 'rg_cloud') AND outcome = 'committed' ORDER BY accessed_at, access_id;

-- The auditor sees that it holds together, and no more.
SET SESSION AUTHORIZATION rg_auditor;
SELECT bool_and(ok) AS all_ok FROM identity.ledger_verify(true);
SELECT bool_and(ok) AS all_ok FROM identity.ledger_verify();
SELECT kind, version, provider FROM identity.key_status() ORDER BY kind;
SELECT count(*) FROM identity.subjects;
SELECT pii FROM identity.pii_resolve(:grace, 'rg.contact', '{name}');

-- The DBA's side: versions follow content.
SET SESSION AUTHORIZATION rg_dba;
UPDATE identity.purpose_definitions SET description = description WHERE purpose_token = 'rg.contact';
UPDATE identity.purpose_definitions SET allowed_fields = '{name}' WHERE purpose_token = 'rg.contact';
SELECT version, allowed_fields, superseded_at IS NULL AS in_force, changed_by FROM identity.purpose_versions WHERE purpose_token = 'rg.contact' ORDER BY version;
SET SESSION AUTHORIZATION rg_onbox;
SELECT pii FROM identity.pii_resolve(:grace, 'rg.contact', '{name,email}');
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION rg_dba;
UPDATE identity.purpose_definitions SET allowed_fields = '{name,email,phone}' WHERE purpose_token = 'rg.contact';
-- One that widens what is sensitive waits for a second person.
UPDATE identity.purpose_definitions SET allowed_fields = '{name,email,phone,dob}' WHERE purpose_token = 'rg.contact';
SELECT version, allowed_fields, superseded_at IS NULL AS open, needs_approval, approved_by FROM identity.purpose_versions WHERE purpose_token = 'rg.contact' ORDER BY version;
SET SESSION AUTHORIZATION rg_onbox;
SELECT * FROM identity.my_purposes() WHERE purpose LIKE 'rg.%';
SET SESSION AUTHORIZATION rg_dba;
UPDATE identity.purpose_definitions SET allowed_fields = '{name,email,phone}' WHERE purpose_token = 'rg.contact';
RESET SESSION AUTHORIZATION;
