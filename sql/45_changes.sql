-- Changes of subjects, for caches: ids and generations, nothing else. Trust: a hint; whoever can write here can make a cache ask once
-- more, or keep what was replaced.

-- What changed and has no cursor yet. Each change is put down by its own transaction; the maintenance process takes what has committed.
CREATE TABLE identity.subject_changes_pending (
    candidate_id uuid NOT NULL,
    generation   int  NOT NULL
);
SELECT pg_catalog.pg_extension_config_dump('identity.subject_changes_pending', '');

-- The newest change of each subject that ever changed, under its cursor.
CREATE TABLE identity.subject_changes (
    candidate_id uuid   NOT NULL PRIMARY KEY,
    generation   int    NOT NULL,
    cursor       bigint NOT NULL UNIQUE
);
SELECT pg_catalog.pg_extension_config_dump('identity.subject_changes', '');

-- How far the cursors have come in each history that this database has lived through: a server, a timeline of it, and the table as it was made
-- there. A cursor beyond that is of a history that was lost here, and is refused.
CREATE TABLE identity.change_epochs (
    epoch       int    NOT NULL PRIMARY KEY CHECK (epoch >= 1),
    history     text   NOT NULL,
    last_cursor bigint NOT NULL
);
SELECT pg_catalog.pg_extension_config_dump('identity.change_epochs', '');

-- One statement, one insert, however many subjects it changed. Nothing is announced here: a NOTIFY would serialise the commits of all who change
-- a subject.
CREATE FUNCTION identity._subjects_changed() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on AS
$subjects_changed$
BEGIN
    INSERT INTO identity.subject_changes_pending (candidate_id, generation)
    SELECT a.candidate_id, a.generation FROM subjects_after a JOIN subjects_before b ON b.candidate_id = a.candidate_id WHERE a.generation <> b.generation;
    RETURN NULL;
END
$subjects_changed$;

-- ALWAYS: session_replication_role = replica must not keep caches from being told.
CREATE TRIGGER subjects_changed AFTER UPDATE ON identity.subjects
    REFERENCING OLD TABLE AS subjects_before NEW TABLE AS subjects_after
    FOR EACH STATEMENT EXECUTE FUNCTION identity._subjects_changed();
ALTER TABLE identity.subjects ENABLE ALWAYS TRIGGER subjects_changed;
