//! `erasure_scrub`: goes on with the pass that is under way, or begins one.

use identity_core::reason::Reason;
use pgrx::pg_sys;

use super::progress::{self, Kind, Progress, State};
use super::relation::{self, Work};
use super::{blockers, pass};
use crate::biometric::files;
use crate::caller::Caller;
use crate::json_text::{jsonb, object, quoted};
use crate::query::{connected, with_latest_snapshot};
use crate::sql_function::{Arguments, sql_function};
use crate::{bucket, call, caller_revocation, error};

sql_function!(erasure_scrub, pg_finfo_erasure_scrub, run);

/// What one call has done, and what the rest waits for.
#[derive(Default)]
struct Answer {
    looked_at: i64,
    rewritten: i64,
    /// Pages that are in use and hold something dead.
    left: usize,
    /// Uploaded files that are still to be destroyed: the requests of their subjects wait for it.
    files: i64,
    scrubbed: usize,
    blocked_by: Vec<String>,
    locked: Vec<String>,
    await_vacuum: Vec<String>,
    /// Indexes that may keep values of rows that are gone: between the pages of a B-tree a value stays as the boundary, whatever became of its row.
    reindex: Vec<String>,
    /// Tables of an access method whose pages we do not know.
    not_scrubbed: Vec<String>,
}

fn run(arguments: Arguments) -> pg_sys::Datum {
    call::operation();
    // SAFETY: reads the state of the server and of the transaction.
    if unsafe { pg_sys::RecoveryInProgress() || pg_sys::XactReadOnly || pg_sys::IsInParallelMode() }
    {
        error::raise(Reason::ReadOnly);
    }
    if with_latest_snapshot(|| caller_revocation::stands(&Caller::current())) {
        error::raise(Reason::CallerRevoked);
    }
    let max_pages = arguments
        .get::<i32>(0)
        .unwrap_or_else(|| error::raise(Reason::NullArgument));
    if max_pages < 1 {
        error::raise(Reason::BadArgument);
    }
    jsonb(&scrub(i64::from(max_pages)))
}

/// Looks at up to `max_pages` pages; the answer is a JSON object. Needs a transaction that can write, and neither SPI nor, but for files, keys.
pub fn scrub(max_pages: i64) -> String {
    let files = files::destroy();
    if !bucket::try_scrubbing() {
        return text(
            "busy",
            &Answer {
                files,
                ..Answer::default()
            },
        );
    }
    if let Some(answer) = in_snapshot(|| go_on(max_pages, files)) {
        return answer;
    }
    match in_snapshot(pass::begin) {
        // Another snapshot: what was written is seen by those that are taken later.
        Ok(()) => in_snapshot(|| go_on(max_pages, files)).unwrap_or_default(),
        Err((0, _)) => text(
            "idle",
            &Answer {
                files,
                ..Answer::default()
            },
        ),
        Err((_, limit)) => {
            let answer = Answer {
                files,
                blocked_by: in_snapshot(|| blockers::before(limit)),
                ..Answer::default()
            };
            text("blocked", &answer)
        }
    }
}

fn in_snapshot<T>(work: impl FnOnce() -> T) -> T {
    with_latest_snapshot(|| connected(work))
}

/// Goes on with the pass that is under way.
fn go_on(max_pages: i64, files: i64) -> Option<String> {
    let pass = pass::under_way()?;
    let mut work = Work {
        pages: max_pages,
        looked_at: 0,
        rewritten: 0,
        horizon: pass.horizon(),
        every_page: pass.every_page,
        blocked: false,
        locked: Vec::new(),
    };
    let mut relations = progress::read();
    for at in 0..relations.len() {
        if may_begin(&relations, at)
            && let Some(progress) = relations.get_mut(at)
            && progress.state != State::Done
        {
            relation::go_on(progress, &mut work);
            progress.write();
        }
        if work.blocked || work.pages == 0 {
            break;
        }
    }
    pass.count(work.looked_at, work.rewritten);
    let mut answer = waits(&relations);
    answer.looked_at = work.looked_at;
    answer.rewritten = work.rewritten;
    answer.locked = work.locked;
    answer.files = files;
    let state = if work.blocked {
        answer.blocked_by = blockers::before(pass.horizon());
        "blocked"
    } else if relations.iter().all(|one| one.state == State::Done) {
        answer.scrubbed = pass.end();
        "done"
    } else if work.pages == 0 {
        "going_on"
    } else {
        "waiting"
    };
    Some(text(state, &answer))
}

/// The pages of an index are looked at when no entry of a row that is gone is left in it.
fn may_begin(relations: &[Progress], at: usize) -> bool {
    relations.get(at).is_some_and(|index| {
        index.kind != Kind::Index
            || !relations.iter().any(|one| {
                one.kind == Kind::Heap && one.relation == index.of_table && one.state != State::Done
            })
    })
}

/// What the relations wait for.
fn waits(relations: &[Progress]) -> Answer {
    let names = |wanted: &dyn Fn(&Progress) -> bool| {
        relations
            .iter()
            .filter(|one| wanted(one))
            .map(|one| one.name.clone())
            .collect()
    };
    Answer {
        left: relations.iter().map(|one| one.left_blocks.len()).sum(),
        await_vacuum: names(&|one| one.state == State::Vacuum),
        reindex: names(&|one| one.has_entries && matches!(one.kind, Kind::Index | Kind::Other)),
        not_scrubbed: names(&|one| one.kind == Kind::Other && !one.has_entries),
        ..Answer::default()
    }
}

fn text(state: &str, answer: &Answer) -> String {
    let names = |names: &[String]| list(&names.iter().map(|name| quoted(name)).collect::<Vec<_>>());
    object([
        ("state", quoted(state)),
        ("pages", answer.looked_at.to_string()),
        ("rewritten", answer.rewritten.to_string()),
        ("left", answer.left.to_string()),
        ("files", answer.files.to_string()),
        ("scrubbed", answer.scrubbed.to_string()),
        ("blocked_by", list(&answer.blocked_by)),
        ("locked", names(&answer.locked)),
        ("await_vacuum", names(&answer.await_vacuum)),
        ("reindex", names(&answer.reindex)),
        ("not_scrubbed", names(&answer.not_scrubbed)),
    ])
}

fn list(elements: &[String]) -> String {
    format!("[{}]", elements.join(","))
}
