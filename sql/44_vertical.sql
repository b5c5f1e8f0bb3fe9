-- What a text is searched for: a DBA adds, disables and removes by plain DML. Trust: whoever can write here can make texts say nothing; each change
-- is on the chain, and verification compares this table with the changes.
CREATE TABLE identity.vertical_patterns (
    pattern  text COLLATE "C" NOT NULL PRIMARY KEY,
    kind     text        NOT NULL CHECK (kind IN ('word', 'stem', 'phrase', 'credential')),
    enabled  boolean     NOT NULL DEFAULT true,
    added_by name        NOT NULL DEFAULT SESSION_USER,
    added_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
SELECT pg_catalog.pg_extension_config_dump('identity.vertical_patterns', '');

-- What became of each pattern, in the order in which it was committed. The newest stamp names the state of the list: sessions keep the list
-- compiled as long as it is the newest. A number would not do: what is rolled back gives its number to somebody else's change.
CREATE TABLE identity.vertical_pattern_changes (
    change_no  int         NOT NULL PRIMARY KEY,
    stamp      uuid        NOT NULL,
    pattern    text COLLATE "C" NOT NULL,
    kind       text        NOT NULL,
    state      text        NOT NULL CHECK (state IN ('enabled', 'disabled', 'removed')),
    changed_by name        NOT NULL,
    changed_at timestamptz NOT NULL
);
CREATE INDEX vertical_pattern_changes_pattern ON identity.vertical_pattern_changes (pattern, change_no);
SELECT pg_catalog.pg_extension_config_dump('identity.vertical_pattern_changes', '');

-- How a subject came to its vertical: escalations and reviews in clear; the digest of each is on the chain. `patterns` holds numbers of
-- vertical_pattern_changes. A reviewer's note lies in subject_texts, where it can be erased.
CREATE TABLE identity.vertical_history (
    access_id    bigint      NOT NULL PRIMARY KEY,
    candidate_id uuid        NOT NULL,
    kind         text        NOT NULL CHECK (kind IN ('escalation', 'review')),
    source       text,
    patterns     text,
    before       text        NOT NULL,
    after        text        NOT NULL,
    generation   int         NOT NULL,
    note_digest  bytea,
    changed_by   name        NOT NULL,
    changed_at   timestamptz NOT NULL
);
CREATE INDEX vertical_history_candidate ON identity.vertical_history (candidate_id);
CREATE INDEX vertical_history_reviews ON identity.vertical_history (changed_at) WHERE kind = 'review' AND before = 'unknown';
SELECT pg_catalog.pg_extension_config_dump('identity.vertical_history', '');

-- Who waits for a review, the oldest first.
CREATE INDEX subjects_unreviewed ON identity.subjects (created_at, candidate_id) WHERE vertical = 'unknown' AND erased_at IS NULL;
