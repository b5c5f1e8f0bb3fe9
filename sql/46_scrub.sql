-- What a pass is due for: a row for each erasure of one or many that nobody has been over the pages for yet. Gone when a pass is over that began after it.
-- Dumped, since a restored database begins its passes anew. Trust: whoever can write here can have a scrub put off; verification compares with the
-- requests.
CREATE TABLE identity.scrub_waits (
    -- whole subjects, each with a request, or their biometrics alone
    what         text COLLATE "C" NOT NULL CHECK (what IN ('subjects', 'biometrics')),
    subjects     bigint      NOT NULL CHECK (subjects > 0),
    -- of whom an uploaded file was still to be destroyed: then it waits for that too, and is about nobody else
    candidate_id uuid,
    since        timestamptz NOT NULL
);
SELECT pg_catalog.pg_extension_config_dump('identity.scrub_waits', '');

-- The scrub: passes over the pages where erased subjects lay. Neither table is dumped: a restored database has other pages, and what it still waits for
-- begins with a new pass. Trust: whoever can write here can have pages passed over; what a pass has done shows in the files alone.
CREATE TABLE identity.scrub_passes (
    pass       bigint      NOT NULL PRIMARY KEY,
    began_at   timestamptz NOT NULL,
    -- what transactions older than `covers` have erased is this pass's; all that these transactions changed is older than `horizon`
    covers     bigint      NOT NULL,
    horizon    bigint      NOT NULL,
    -- a standby that took over may have clean pages where the server it took over from has none: the first pass on a timeline leaves out no page
    timeline   bigint      NOT NULL,
    every_page boolean     NOT NULL,
    looked_at  bigint      NOT NULL DEFAULT 0,
    rewritten  bigint      NOT NULL DEFAULT 0,
    ended_at   timestamptz,
    end_lsn    pg_lsn
);
SELECT pg_catalog.pg_extension_config_dump('identity.scrub_passes', 'WHERE false');

-- How far the pass that is under way has come in each relation. By oid and file: a relation that is dropped is done, one that was written anew begins anew.
CREATE TABLE identity.scrub_progress (
    ordinal     int      NOT NULL PRIMARY KEY,
    relation    oid      NOT NULL,
    name        text     NOT NULL,
    kind        text     NOT NULL CHECK (kind IN ('heap', 'toast', 'index', 'other')),
    -- the table, for its TOAST table and its indexes
    of_table    oid      NOT NULL,
    -- the index can hold more than keys, or the table has one that can: entries of rows that are gone leave it by a VACUUM only
    has_entries boolean  NOT NULL,
    state       text     NOT NULL CHECK (state IN ('pages', 'vacuum', 'done')),
    file        bigint   NOT NULL DEFAULT 0,
    next_block  bigint   NOT NULL DEFAULT 0,
    blocks      bigint   NOT NULL DEFAULT 0,
    left_blocks bigint[] NOT NULL DEFAULT '{}',
    -- the last line pointer in the table that a VACUUM has to free: VACUUM frees them in order, and only after the indexes
    dead_block  bigint,
    dead_item   int
);
SELECT pg_catalog.pg_extension_config_dump('identity.scrub_progress', 'WHERE false');

-- ANALYZE copies values into pg_statistic, from where nothing erases them.
ALTER TABLE identity.subjects
    ALTER COLUMN name_ct SET STATISTICS 0, ALTER COLUMN email_ct SET STATISTICS 0, ALTER COLUMN phone_ct SET STATISTICS 0,
    ALTER COLUMN address_ct SET STATISTICS 0, ALTER COLUMN ssn_ct SET STATISTICS 0, ALTER COLUMN dob_ct SET STATISTICS 0,
    ALTER COLUMN biometric_classifications_ct SET STATISTICS 0, ALTER COLUMN biometric_data_path SET STATISTICS 0,
    ALTER COLUMN biometric_template_hash SET STATISTICS 0, ALTER COLUMN lawful_basis SET STATISTICS 0,
    ALTER COLUMN transfer_mechanism SET STATISTICS 0, ALTER COLUMN erasure_reason SET STATISTICS 0;
ALTER TABLE identity.subject_texts ALTER COLUMN salt SET STATISTICS 0, ALTER COLUMN content SET STATISTICS 0;
