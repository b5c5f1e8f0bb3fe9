-- Not against DELETE: an erasure takes the texts away.
CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON identity.subject_texts
    FOR EACH STATEMENT EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.subject_texts ENABLE ALWAYS TRIGGER append_only;
