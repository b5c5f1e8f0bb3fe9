//! The patterns that texts are searched for: the trigger that records each change, and the list compiled for this backend.

use identity_core::event_digest;
use identity_core::reason::Reason;
use identity_core::text::{Kind, MAX_PATTERNS, Matcher, Pattern, is_pattern};
use identity_core::vocabulary::AccessorKind;
use pgrx::pg_sys;

use crate::backend_local::BackendLocal;
use crate::call::Call;
use crate::keys::region::Keys;
use crate::purpose::change::restoring;
use crate::query::{Rows, Statement, bind, connected, with_latest_snapshot};
use crate::record::Fate;
use crate::sql_function::{self as sql, Arguments, sql_function};
use crate::{bucket, error};

sql_function!(_pattern_changed, pg_finfo__pattern_changed, changed);

static NEWEST: Statement = Statement::read(
    c"SELECT stamp FROM identity.vertical_pattern_changes ORDER BY change_no DESC LIMIT 1",
    &[],
);
static ENABLED: Statement = Statement::read(
    c"SELECT p.pattern, p.kind, (SELECT pg_catalog.max(c.change_no) FROM identity.vertical_pattern_changes c WHERE c.pattern = p.pattern)
        FROM identity.vertical_patterns p WHERE p.enabled",
    &[],
);
static COUNT: Statement = Statement::write(
    c"SELECT pg_catalog.count(*) FROM identity.vertical_patterns WHERE enabled",
    &[],
);
static NEXT: Statement = Statement::write(
    c"INSERT INTO identity.vertical_pattern_changes (change_no, stamp, pattern, kind, state, changed_by, changed_at)
      SELECT COALESCE(pg_catalog.max(c.change_no), 0) + 1, pg_catalog.gen_random_uuid(), $1, $2, $3, $4::name, pg_catalog.clock_timestamp()
        FROM identity.vertical_pattern_changes c
      RETURNING change_no, pattern, kind, state, changed_by::text",
    &[pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TEXTOID],
);
static CHANGES: Statement = Statement::read(
    c"SELECT change_no, pattern, kind, state, changed_by::text FROM identity.vertical_pattern_changes ORDER BY change_no",
    &[],
);

/// The list as of the stamp of its newest change.
static COMPILED: BackendLocal<Option<(Option<[u8; 16]>, Matcher)>> = BackendLocal::new(None);

/// The numbers of the patterns that the text holds, by the list as of now.
pub fn found_in(text: &str) -> Vec<i32> {
    // Taken out while it is used: an error leaves nothing behind, and the next call compiles anew.
    let known = COMPILED.with(Option::take);
    let (stamp, matcher) = with_latest_snapshot(|| {
        connected(|| {
            let stamp = NEWEST.run(&mut []).get::<pgrx::Uuid>(0, 1);
            let stamp = stamp.map(|stamp| *stamp.as_bytes());
            let matcher = match known {
                Some((of, matcher)) if of == stamp => matcher,
                _ => compile(&ENABLED.run(&mut [])),
            };
            (stamp, matcher)
        })
    });
    let found = matcher.find(text);
    COMPILED.with(|compiled| *compiled = Some((stamp, matcher)));
    found
}

/// A list that cannot be searched for refuses: to find nothing would say that there is nothing.
fn compile(rows: &Rows) -> Matcher {
    let patterns = (0..rows.count)
        .map(|row| {
            Some(Pattern {
                id: rows.get(row, 3)?,
                kind: Kind::parse(rows.get(row, 2)?)?,
                text: rows.get(row, 1)?,
            })
        })
        .collect::<Option<Vec<_>>>();
    patterns
        .and_then(|patterns| Matcher::new(&patterns))
        .unwrap_or_else(|| error::fault("a row of identity.vertical_patterns is no pattern"))
}

fn changed(arguments: Arguments) -> pg_sys::Datum {
    let nothing = pg_sys::Datum::from(0);
    let Some(change) = Change::of(arguments) else {
        return nothing;
    };
    if restoring() {
        return nothing;
    }
    let mut call = Call::begin(AccessorKind::PatternChange);
    let keys = call.admit();
    let well_formed = Kind::parse(change.kind).is_some_and(|kind| is_pattern(kind, change.pattern));
    if change.renamed || (change.state != "removed" && !well_formed) {
        call.refuse(Reason::BadArgument);
    }
    // Numbers follow each other in the order of commits.
    bucket::vertical_patterns();
    let role = call.caller.role();
    with_latest_snapshot(|| {
        connected(|| {
            let enabled = COUNT.run(&mut []).get::<i64>(0, 1).unwrap_or(i64::MAX);
            if usize::try_from(enabled).unwrap_or(usize::MAX) > MAX_PATTERNS {
                call.refuse(Reason::TooMany);
            }
            let rows = NEXT.run(&mut [
                bind(change.pattern),
                bind(change.kind),
                bind(change.state),
                bind(role.as_str()),
            ]);
            append(&mut call, &keys, &rows, 0);
        });
    });
    nothing
}

/// What `initialize()` wrote while there was no key to chain with.
pub fn record_all(keys: &Keys) {
    let mut call = Call::begin(AccessorKind::PatternChange);
    with_latest_snapshot(|| {
        connected(|| {
            let rows = CHANGES.run(&mut []);
            for row in 0..rows.count {
                append(&mut call, keys, &rows, row);
            }
        });
    });
}

fn append(call: &mut Call, keys: &Keys, rows: &Rows, row: usize) {
    let digest = digest(&keys.installation, rows, row)
        .unwrap_or_else(|| error::fault("a change of a pattern is not there"));
    call.append(keys, &Fate::event(digest));
}

/// The digest of a row of changes, by its columns' names.
pub fn digest(installation: &[u8; 16], rows: &Rows, row: usize) -> Option<[u8; 32]> {
    let number = rows.get::<i32>(row, 1)?.to_string();
    let pairs = [
        ("change_no", number.as_str()),
        ("pattern", rows.get(row, 2)?),
        ("kind", rows.get(row, 3)?),
        ("state", rows.get(row, 4)?),
        ("changed_by", rows.get(row, 5)?),
    ];
    Some(event_digest(installation, "pattern_change", &pairs))
}

/// All changes with their digests. Runs inside a call's snapshot.
pub fn digests(installation: &[u8; 16]) -> Vec<(i32, Option<[u8; 32]>)> {
    let rows = CHANGES.run(&mut []);
    (0..rows.count)
        .filter_map(|row| Some((rows.get(row, 1)?, digest(installation, &rows, row))))
        .collect()
}

/// What one row of the table was changed to.
struct Change<'a> {
    pattern: &'a str,
    kind: &'a str,
    state: &'static str,
    renamed: bool,
}

impl Change<'_> {
    /// `None` if nothing that counts was changed.
    fn of(arguments: Arguments) -> Option<Self> {
        // SAFETY: a trigger's data; the three columns are declared NOT NULL.
        unsafe {
            let trigger = arguments.trigger();
            let descriptor = (*(*trigger).tg_relation).rd_att;
            let column = |tuple, number| {
                let mut null = false;
                pg_sys::heap_getattr(tuple, number, descriptor, &mut null)
            };
            let row = |tuple| {
                let enabled = column(tuple, 3).value() as u8 != 0;
                (
                    sql::text(column(tuple, 1)),
                    sql::text(column(tuple, 2)),
                    enabled,
                )
            };
            let event = (*trigger).tg_event & pg_sys::TRIGGER_EVENT_OPMASK;
            let old = row((*trigger).tg_trigtuple);
            let (new, removed) = match event {
                pg_sys::TRIGGER_EVENT_UPDATE => (row((*trigger).tg_newtuple), false),
                pg_sys::TRIGGER_EVENT_DELETE => (old, true),
                _ => (old, false),
            };
            if event == pg_sys::TRIGGER_EVENT_UPDATE && new == old {
                return None;
            }
            Some(Self {
                pattern: new.0,
                kind: new.1,
                state: match (removed, new.2) {
                    (true, _) => "removed",
                    (false, true) => "enabled",
                    (false, false) => "disabled",
                },
                renamed: new.0 != old.0,
            })
        }
    }
}
