//! `erasure_scrub`: goes on with the pass that is under way, or begins one.

use identity_core::reason::Reason;
use pgrx::pg_sys;

use super::progress::{self, Kind, Progress, State as Of};
use super::relation::{self, Work};
use super::{blockers, pass};
use crate::caller::Caller;
use crate::json_text::{jsonb, object, quoted};
use crate::query::{connected, with_latest_snapshot};
use crate::sql_function::{Arguments, sql_function};
use crate::{bucket, call, caller_revocation, error};

sql_function!(erasure_scrub, pg_finfo_erasure_scrub, run);

/// How it stands after a call.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing waits for a scrub.
    #[default]
    Idle,
    /// Somebody else is at it.
    Busy,
    /// Somebody can see older rows still.
    Blocked,
    /// There are more pages.
    GoingOn,
    /// All pages were looked at; something is in use, or needs a VACUUM first.
    Waiting,
    Done,
}

/// What one call has done, and what the rest waits for.
#[derive(Default)]
pub struct Answer {
    pub state: State,
    looked_at: i64,
    rewritten: i64,
    /// Pages that are in use and hold something dead.
    left: usize,
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
    jsonb(&scrub(i64::from(max_pages)).text())
}

/// Looks at up to `max_pages` pages. Needs a transaction that can write, and neither SPI nor keys.
pub fn scrub(max_pages: i64) -> Answer {
    if !bucket::try_scrubbing() {
        return Answer::of(State::Busy);
    }
    if let Some(answer) = in_snapshot(|| go_on(max_pages)) {
        return answer;
    }
    match in_snapshot(pass::begin) {
        // Another snapshot: what was written is seen by those that are taken later.
        Ok(()) => in_snapshot(|| go_on(max_pages)).unwrap_or_default(),
        Err((0, _)) => Answer::of(State::Idle),
        Err((_, limit)) => Answer {
            blocked_by: in_snapshot(|| blockers::before(limit)),
            ..Answer::of(State::Blocked)
        },
    }
}

fn in_snapshot<T>(work: impl FnOnce() -> T) -> T {
    with_latest_snapshot(|| connected(work))
}

/// Goes on with the pass that is under way.
fn go_on(max_pages: i64) -> Option<Answer> {
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
            && progress.state != Of::Done
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
    answer.state = if work.blocked {
        answer.blocked_by = blockers::before(pass.horizon());
        State::Blocked
    } else if relations.iter().all(|one| one.state == Of::Done) {
        answer.scrubbed = pass.end();
        State::Done
    } else if work.pages == 0 {
        State::GoingOn
    } else {
        State::Waiting
    };
    Some(answer)
}

/// The pages of an index are looked at when no entry of a row that is gone is left in it.
fn may_begin(relations: &[Progress], at: usize) -> bool {
    relations.get(at).is_some_and(|index| {
        index.kind != Kind::Index
            || !relations.iter().any(|one| {
                one.kind == Kind::Heap && one.relation == index.of_table && one.state != Of::Done
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
        await_vacuum: names(&|one| one.state == Of::Vacuum),
        reindex: names(&|one| one.has_entries && matches!(one.kind, Kind::Index | Kind::Other)),
        not_scrubbed: names(&|one| one.kind == Kind::Other && !one.has_entries),
        ..Answer::default()
    }
}

impl Answer {
    fn of(state: State) -> Self {
        Self {
            state,
            ..Self::default()
        }
    }

    /// As a JSON object.
    fn text(&self) -> String {
        let names =
            |names: &[String]| list(&names.iter().map(|name| quoted(name)).collect::<Vec<_>>());
        let state = match self.state {
            State::Idle => "idle",
            State::Busy => "busy",
            State::Blocked => "blocked",
            State::GoingOn => "going_on",
            State::Waiting => "waiting",
            State::Done => "done",
        };
        object([
            ("state", quoted(state)),
            ("pages", self.looked_at.to_string()),
            ("rewritten", self.rewritten.to_string()),
            ("left", self.left.to_string()),
            ("scrubbed", self.scrubbed.to_string()),
            ("blocked_by", list(&self.blocked_by)),
            ("locked", names(&self.locked)),
            ("await_vacuum", names(&self.await_vacuum)),
            ("reindex", names(&self.reindex)),
            ("not_scrubbed", names(&self.not_scrubbed)),
        ])
    }
}

fn list(elements: &[String]) -> String {
    format!("[{}]", elements.join(","))
}
