//! One version of a text that subjects agree to: which one is in effect, and its content as it is digested onto the chain.

use identity_core::vocabulary::ConsentKind;
use pgrx::pg_sys;

use crate::event;
use crate::query::{Rows, Statement, bind};

/// A version that was to hold at once holds whatever the clock says by now, and so it ends the ones before. A later one that has not begun ends nothing.
static IN_EFFECT: Statement = Statement::read(
    c"SELECT v.template_hash, ($4 AT TIME ZONE 'UTC' + v.valid_for) AT TIME ZONE 'UTC'
        FROM identity.consent_versions v
       WHERE v.version = $1 AND v.kind = $2 AND (v.effective_at <= v.changed_at OR v.effective_at <= $3)
         AND (v.superseded_at IS NULL OR v.superseded_at > $3)
         AND NOT EXISTS (SELECT FROM identity.consent_versions n
              WHERE n.kind = v.kind AND n.ordinal > v.ordinal AND (n.effective_at <= n.changed_at OR n.effective_at <= $3))",
    &[
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::TIMESTAMPTZOID,
    ],
);

static CONTENT: Statement = Statement::read(
    c"SELECT version, kind, valid_for, effective_at, template_hash, template_path, ordinal::text, changed_by::text, changed_at
        FROM identity.consent_versions WHERE version = COALESCE($1, version) ORDER BY kind, ordinal",
    &[pg_sys::TEXTOID],
);

pub struct Template {
    pub hash: String,
    /// Until when a consent to it holds; `None` = until withdrawn.
    pub valid_until: Option<i64>,
}

/// The version of this name and kind, if it is in effect; validity is counted from `given_at`. Runs inside a call's snapshot.
pub fn in_effect(kind: ConsentKind, version: &str, now: i64, given_at: i64) -> Option<Template> {
    let rows = IN_EFFECT.run(&mut [
        bind(version),
        bind(kind.as_str()),
        Some(pg_sys::Datum::from(now)),
        Some(pg_sys::Datum::from(given_at)),
    ]);
    Some(Template {
        hash: rows.get(0, 1)?,
        valid_until: rows.moment(0, 2),
    })
}

/// A version's name, and the digest of its content.
pub type Recorded = (String, [u8; 32]);

/// The digest of one version; `None` if there is none. Runs inside a call's snapshot.
pub fn digest(installation: &[u8; 16], version: &str) -> Option<[u8; 32]> {
    let rows = CONTENT.run(&mut [bind(version)]);
    digest_at(installation, &rows, 0).map(|(_, digest)| digest)
}

/// Every version there is. Runs inside a call's snapshot.
pub fn all(installation: &[u8; 16]) -> Vec<Recorded> {
    let rows = CONTENT.run(&mut [None]);
    (0..rows.count)
        .filter_map(|row| digest_at(installation, &rows, row))
        .collect()
}

fn digest_at(installation: &[u8; 16], rows: &Rows, at: usize) -> Option<Recorded> {
    let text = |column| rows.get::<String>(at, column);
    let instant = |column| rows.moment(at, column).map(event::instant);
    let members = [
        ("version", text(1)),
        ("kind", text(2)),
        (
            "valid_for",
            rows.datum(at, 3).map(|datum| parts(&span(datum))),
        ),
        ("effective_at", instant(4)),
        ("template_hash", text(5)),
        ("template_path", text(6)),
        ("ordinal", text(7)),
        ("changed_by", text(8)),
        ("changed_at", instant(9)),
    ];
    let pairs = members
        .iter()
        .map(|(name, value)| (*name, value.as_deref()))
        .collect::<Vec<_>>();
    let digest = event::digest(installation, "consent_version", &pairs);
    Some((text(1)?, digest))
}

/// An interval as PostgreSQL keeps it.
pub fn span(datum: pg_sys::Datum) -> pg_sys::Interval {
    // SAFETY: an interval datum points to one.
    unsafe { *datum.cast_mut_ptr::<pg_sys::Interval>() }
}

/// Months, days and microseconds: the text that PostgreSQL writes of an interval depends on the session's settings.
fn parts(span: &pg_sys::Interval) -> String {
    format!("{},{},{}", span.month, span.day, span.time)
}
