-- Free text about a subject, with the salt of its digest. Rows are never changed, and gone when the subject is erased: the digest on the chain then
-- tells nothing any more. MAIN keeps a text in its row: texts are bounded, and what never goes to a TOAST table need not be scrubbed from one.
CREATE TABLE identity.subject_texts (
    access_id    bigint NOT NULL PRIMARY KEY,
    candidate_id uuid   NOT NULL,
    kind         text   NOT NULL,
    salt         bytea  NOT NULL,
    content      text   NOT NULL
);
ALTER TABLE identity.subject_texts ALTER COLUMN content SET STORAGE MAIN;
CREATE INDEX subject_texts_candidate ON identity.subject_texts (candidate_id);
SELECT pg_catalog.pg_extension_config_dump('identity.subject_texts', '');
