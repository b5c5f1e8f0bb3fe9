//! `consent_record`: what a subject said. Whoever reads next, in whatever session and transaction, is bound by it once it is committed.

use identity_core::reason::Reason;
use identity_core::vocabulary::{AccessorKind, ConsentKind, ConsentStatus};
use pgrx::pg_sys;

use super::claims::{self, Claims};
use super::event::{Consent, Event};
use super::template;
use super::texts::Text;
use crate::call::Call;
use crate::clock::{self, UNIX_EPOCH_MICROS};
use crate::keys::region::Keys;
use crate::query::{Rows, Statement, bind, connected, with_latest_snapshot};
use crate::record::Fate;
use crate::sql_function::{Arguments, sql_function, uuid, void};
use crate::subject::standing::{Standing, as_of};
use crate::{bucket, error};

sql_function!(consent_record, pg_finfo_consent_record, run);

/// What of the subject decides. Column 5 is where its biometric consent stands; 6 and 7, for general and biometric, the last time it was withdrawn:
/// one that came withdrawn, without a date, was so at its last change at the latest.
static SUBJECT: Statement = Statement::read(
    c"SELECT s.vertical, s.consent_status, s.erased_at IS NOT NULL, s.generation, s.biometric_consent_status,
             CASE WHEN s.consent_status = 'withdrawn' THEN COALESCE(s.consent_withdrawn_at, s.updated_at) ELSE s.consent_withdrawn_at END,
             (SELECT pg_catalog.max(h.recorded_at) FROM identity.consent_history h
               WHERE h.candidate_id = s.candidate_id AND h.kind = 'biometric' AND h.status = 'withdrawn'),
             s.consent_valid_until
        FROM identity.subjects s WHERE s.candidate_id = $1",
    &[pg_sys::UUIDOID],
);

/// GREATEST: a clock that stepped back makes no withdrawal older than the one before.
static GENERAL: Statement = Statement::write(
    c"UPDATE identity.subjects
         SET consent_status = $2, consent_version = COALESCE($3, consent_version), updated_at = $4, generation = generation + 1,
             consent_given_at = COALESCE($5, consent_given_at), consent_valid_until = $6,
             consent_withdrawn_at = CASE WHEN $2 = 'withdrawn' THEN GREATEST(consent_withdrawn_at, $4) ELSE consent_withdrawn_at END
       WHERE candidate_id = $1 RETURNING generation, consent_version",
    &[
        pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPTZOID,
    ],
);

static BIOMETRIC: Statement = Statement::write(
    c"UPDATE identity.subjects
         SET biometric_consent_status = $2, biometric_consent_version = COALESCE($3, biometric_consent_version), updated_at = $4, generation = generation + 1,
             biometric_consent_valid_until = $5
       WHERE candidate_id = $1 RETURNING generation, biometric_consent_version",
    &[
        pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPTZOID,
    ],
);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    /// Asked, no answer yet. Biometric consent only: for the general one that is how a subject begins.
    Pending,
    Given,
    Withdrawn,
}

impl Said {
    fn parse(word: &str, kind: ConsentKind) -> Option<Self> {
        match (word, kind) {
            ("given", _) => Some(Self::Given),
            ("withdrawn", _) => Some(Self::Withdrawn),
            ("pending", ConsentKind::Biometric) => Some(Self::Pending),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Given => "given",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// The arguments, checked as far as they can be without looking at the subject.
struct Asked<'a> {
    candidate: [u8; 16],
    kind: ConsentKind,
    said: Said,
    version: Option<&'a str>,
    claims: Claims,
    text: Option<Text>,
}

fn run(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::Consent);
    let keys = call.admit();
    let asked = asked(&mut call, arguments);
    bucket::exclusive(&asked.candidate);
    with_latest_snapshot(|| connected(|| record(&mut call, &keys, &asked)));
    void(arguments)
}

fn asked<'a>(call: &mut Call, arguments: Arguments) -> Asked<'a> {
    let candidate = uuid(call.required(arguments.datum(0)));
    call.entry.candidate = Some(candidate);
    let kind = ConsentKind::parse(call.required(arguments.get(1)))
        .filter(|kind| *kind != ConsentKind::RetentionSchedule)
        .unwrap_or_else(|| call.refuse(Reason::BadArgument));
    let said = Said::parse(call.required(arguments.get(2)), kind)
        .unwrap_or_else(|| call.refuse(Reason::BadArgument));
    let version = arguments.get(3);
    let evidence = call.required(arguments.datum(4));
    let text = call.allow(claims::evidence(evidence));
    let asked = Asked {
        candidate,
        kind,
        said,
        // What is withdrawn is whatever was given: a wrong name must not keep anybody from withdrawing.
        version: version.filter(|_| said != Said::Withdrawn),
        claims: match said {
            Said::Withdrawn => Claims::default(),
            _ => call.allow(Claims::parse(evidence)),
        },
        text: text.map(Text::new),
    };
    if said == Said::Given {
        call.required(asked.version);
    }
    asked
}

/// Everything that must see one state of the world, with the subject's bucket held.
fn record(call: &mut Call, keys: &Keys, asked: &Asked<'_>) {
    let now = clock::now();
    call.entry.at = now + UNIX_EPOCH_MICROS;
    let rows = SUBJECT.run(&mut [bind(pgrx::Uuid::from_bytes(asked.candidate))]);
    let mut standing =
        Standing::of(&rows).unwrap_or_else(|| call.refuse(Reason::SubjectUnavailable));
    standing.note(&mut call.entry);
    if standing.erased {
        call.refuse(Reason::SubjectErased);
    }
    let valid_until = call.allow(permitted(asked, &rows, now));
    if asked.said == Said::Given {
        // What this opens could be read and rolled back together with it: then this leaves a row as well.
        call.hold();
    }
    let (generation, version) = change(asked, valid_until, now);
    standing.generation = generation;
    if asked.kind == ConsentKind::General {
        let said = ConsentStatus::parse(asked.said.as_str()).unwrap_or(standing.consent);
        standing.consent = as_of(said, valid_until, now);
    }
    standing.note(&mut call.entry);

    let role = call.caller.role();
    let event = Event {
        candidate: asked.candidate,
        recorded_by: role.as_str(),
        recorded_at: now,
        text: asked.text.as_ref().map(|text| text.digest),
    };
    let consent = Consent {
        kind: asked.kind.as_str(),
        status: asked.said.as_str(),
        version: version.as_deref(),
        valid_until,
        generation,
    };
    let digest = event.consent_digest(&keys.installation, &consent);
    let access_id = call.append(keys, &Fate::event(digest));
    event.keep_consent(access_id, &consent);
    if let Some(text) = &asked.text {
        text.keep(access_id, &asked.candidate, "consent");
    }
}

/// Whether it may be recorded, and until when what is given holds. A withdrawal always may.
fn permitted(asked: &Asked<'_>, rows: &Rows, now: i64) -> Result<Option<i64>, Reason> {
    if asked.said == Said::Withdrawn {
        return Ok(None);
    }
    let given_at = asked.claims.given_at.unwrap_or(now);
    if given_at > now {
        return Err(Reason::BadArgument);
    }
    let template = match asked.version {
        None => None,
        Some(version) => {
            let found = template::in_effect(asked.kind, version, now, given_at);
            Some(found.ok_or(Reason::Consent)?)
        }
    };
    if let (Some(shown), Some(template)) = (&asked.claims.template_hash, &template)
        && *shown != template.hash
    {
        return Err(Reason::Consent);
    }
    let (allowed, valid_until) = match asked.said {
        // Back to pending would be a withdrawal that needs no newer evidence to undo.
        Said::Pending => (
            matches!(rows.get(0, 5), Some("never_collected" | "pending")),
            None,
        ),
        _ => (
            newer_than_withdrawal(asked, rows),
            template.and_then(|template| template.valid_until),
        ),
    };
    allowed.then_some(valid_until).ok_or(Reason::Consent)
}

fn newer_than_withdrawal(asked: &Asked<'_>, rows: &Rows) -> bool {
    let withdrawn_at = match asked.kind {
        ConsentKind::General => rows.datum(0, 6),
        _ => rows.datum(0, 7),
    };
    withdrawn_at.is_none_or(|at| asked.claims.given_at > Some(at.value() as i64))
}

/// Returns the new generation, and the version that the subject's consent is about now.
fn change(asked: &Asked<'_>, valid_until: Option<i64>, now: i64) -> (i32, Option<String>) {
    let given_at = (asked.said == Said::Given).then(|| asked.claims.given_at.unwrap_or(now));
    let mut values = vec![
        bind(pgrx::Uuid::from_bytes(asked.candidate)),
        bind(asked.said.as_str()),
        asked.version.and_then(bind),
        Some(pg_sys::Datum::from(now)),
    ];
    let rows = match asked.kind {
        ConsentKind::General => {
            values.extend([given_at, valid_until].map(|at| at.map(pg_sys::Datum::from)));
            GENERAL.run(&mut values)
        }
        _ => {
            values.push(valid_until.map(pg_sys::Datum::from));
            BIOMETRIC.run(&mut values)
        }
    };
    let generation = rows
        .get(0, 1)
        .unwrap_or_else(|| error::fault("a subject's consent could not be changed"));
    (generation, rows.get(0, 2))
}
