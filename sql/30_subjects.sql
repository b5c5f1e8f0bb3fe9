-- One row a person. Trust: ciphertext is hostile input, whoever can write the table can move it about; it opens only where it was sealed.
CREATE TABLE identity.subjects (
    candidate_id                  uuid        NOT NULL PRIMARY KEY,
    name_ct                       bytea,
    email_ct                      bytea,
    phone_ct                      bytea,
    address_ct                    bytea,
    ssn_ct                        bytea,
    dob_ct                        bytea,
    dek_version                   int         NOT NULL,
    consent_status                text        NOT NULL CHECK (consent_status IN ('pending_backfill_review', 'pending_first_contact', 'given', 'withdrawn', 'expired')),
    consent_version               text,
    consent_given_at              timestamptz,
    consent_withdrawn_at          timestamptz,
    biometric_consent_status      text        NOT NULL DEFAULT 'never_collected' CHECK (biometric_consent_status IN ('never_collected', 'pending', 'given', 'withdrawn', 'expired')),
    biometric_retention_until     timestamptz,
    biometric_classifications_ct  bytea,
    biometric_data_path           text,
    biometric_collected_at        timestamptz,
    biometric_template_hash       text,
    vertical                      text        NOT NULL DEFAULT 'unknown' CHECK (vertical IN ('unknown', 'general', 'healthcare', 'finance', 'other')),
    retention_period_days         int         NOT NULL CHECK (retention_period_days BETWEEN 1 AND 36500),
    eu_resident                   boolean     NOT NULL DEFAULT false,
    lawful_basis                  text,
    transfer_mechanism            text,
    created_at                    timestamptz NOT NULL,
    updated_at                    timestamptz NOT NULL,
    last_interaction              timestamptz,
    erased_at                     timestamptz,
    erasure_reason                text,
    erasure_generation            int         NOT NULL DEFAULT 0 CHECK (erasure_generation >= 0),
    generation                    int         NOT NULL DEFAULT 0,
    -- who registered the subject under which request: the same request answers with the same candidate
    registered_by                 name,
    request_id                    uuid,
    -- until when a consent that was given holds: from its version's valid_for; NULL = until withdrawn. Every read looks at it
    consent_valid_until           timestamptz,
    biometric_consent_version     text,
    -- the same for biometrics: looked at when they are collected, and each night; where it is over they are due
    biometric_consent_valid_until timestamptz
);
-- MAIN keeps a ciphertext in its row: values are bounded so that six of the largest still fit one page, and what never goes
-- to a TOAST table need not be scrubbed from one.
ALTER TABLE identity.subjects
    ALTER COLUMN name_ct SET STORAGE MAIN, ALTER COLUMN email_ct SET STORAGE MAIN, ALTER COLUMN phone_ct SET STORAGE MAIN,
    ALTER COLUMN address_ct SET STORAGE MAIN, ALTER COLUMN ssn_ct SET STORAGE MAIN, ALTER COLUMN dob_ct SET STORAGE MAIN,
    ALTER COLUMN biometric_classifications_ct SET STORAGE MAIN, ALTER COLUMN biometric_data_path SET STORAGE MAIN,
    ALTER COLUMN biometric_template_hash SET STORAGE MAIN;
CREATE UNIQUE INDEX subjects_request ON identity.subjects (registered_by, request_id) WHERE request_id IS NOT NULL;
SELECT pg_catalog.pg_extension_config_dump('identity.subjects', '');
