CREATE FUNCTION identity.text_observe(candidate_id uuid, source text, content text) RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'text_observe';

CREATE FUNCTION identity.vertical_review(candidate_id uuid, vertical text, note text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'vertical_review';

CREATE FUNCTION identity.review_forecast(
    OUT length bigint, OUT oldest timestamptz, OUT per_day double precision, OUT projected_end timestamptz) RETURNS record
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'review_forecast';

-- Reads as its owner, the keeper; the barrier keeps a reader's own functions away from subjects that do not wait.
CREATE VIEW identity.vertical_review_queue WITH (security_barrier = true) AS
    SELECT s.candidate_id, s.created_at, pg_catalog.now() OPERATOR(pg_catalog.-) s.created_at AS age, s.consent_status
      FROM identity.subjects s
     WHERE s.vertical OPERATOR(pg_catalog.=) 'unknown' AND s.erased_at IS NULL
     ORDER BY s.created_at, s.candidate_id;

-- Checks a pattern, numbers the change and records it. Like purposes, patterns come along with a dump: while keys are locked nothing is derived.
CREATE FUNCTION identity._pattern_changed() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', '_pattern_changed';

CREATE TRIGGER pattern_changed AFTER INSERT OR UPDATE OR DELETE ON identity.vertical_patterns
    FOR EACH ROW EXECUTE FUNCTION identity._pattern_changed();
ALTER TABLE identity.vertical_patterns ENABLE ALWAYS TRIGGER pattern_changed;
-- A TRUNCATE fires no row trigger: it would leave no record.
CREATE TRIGGER append_only BEFORE TRUNCATE ON identity.vertical_patterns
    FOR EACH STATEMENT EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.vertical_patterns ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON identity.vertical_pattern_changes
    FOR EACH STATEMENT EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.vertical_pattern_changes ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON identity.vertical_history
    FOR EACH STATEMENT EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.vertical_history ENABLE ALWAYS TRIGGER append_only;

-- The list that initialize() begins with. Words that many people's texts have for other reasons are left out: patient (the adjective), DO, NP, PT,
-- PA, ER (words, terms and states), triage and EMR (software). A DBA adds what a platform needs.
CREATE FUNCTION identity._seed_patterns() RETURNS void
LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET row_security = on AS
$seed_patterns$
    INSERT INTO identity.vertical_patterns (pattern, kind)
    SELECT unnest(patterns), kind FROM (VALUES
        ('credential', '{RN,BSN,LPN,LVN,CNA,MD,APRN,CRNA,FNP,EMT}'::text[]),
        ('word', '{nurse,nurses,nursing,hospital,hospitals,ICU,NICU,HIPAA,PharmD,patients,inpatient,outpatient,surgeon,surgeons,surgical,healthcare,telehealth,hospice,dentist,dentists,pharmacist,pharmacists,caregiver}'),
        ('stem', '{physician,clinic,phlebotom,paramedic,midwi,radiolog,sonograph,oncolog,cardiolog,neonat,pediatric,obstetric,psychiatr,anesthesi}'),
        ('phrase', '{"patient care","patient safety","patient intake","patient records","patient transport","patient advocate","health care","home health","vital signs","medical assistant","medical center","medical records","medical coding","medical coder","medical billing","medical school","dental hygienist","dental assistant","pharmacy technician","surgical technologist","emergency medical technician","emergency department","emergency room","operating room","electronic health record","electronic health records","protected health information","respiratory therapist","physical therapist","occupational therapist","doctor of osteopathic medicine","doctor of medicine"}')
    ) AS seed (kind, patterns);
    INSERT INTO identity.vertical_pattern_changes (change_no, stamp, pattern, kind, state, changed_by, changed_at)
    SELECT row_number() OVER (ORDER BY p.kind, p.pattern), gen_random_uuid(), p.pattern, p.kind, 'enabled', session_user, now()
      FROM identity.vertical_patterns p;
$seed_patterns$;
