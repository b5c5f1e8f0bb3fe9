//! How much a caller may still do under a purpose: calls a second, and subjects a day.
//!
//! What was disclosed was disclosed: nothing here is undone by a rollback. Counters belong to the session user, so SET ROLE, reconnecting and
//! parallel sessions share one allowance.

mod counters;
pub mod notices;
pub mod rebuild;
pub mod table;

use identity_core::limit;
use identity_core::reason::Reason;

use crate::call::Call;
use crate::clock;
use crate::gucs::SERVICE_DAILY_CEILING;
use crate::purpose::active::Active;
use crate::record::Short;
use counters::Counters;

/// For each login, each about up to 1,000 subjects: far above what caches need.
const QUESTIONS_PER_SECOND: u32 = 1000;

/// What a call counted: on which day, and how many subjects.
#[derive(Clone, Copy)]
pub struct Counted {
    day: i32,
    subjects: u32,
}

/// Counts this call and the subjects that it is about to disclose, all or none; otherwise the call is refused. Belongs after the caller was found
/// to be allowed the purpose, and before a subject is looked at: a caller at its cap learns nothing more about anybody.
pub fn admit(call: &Call, purpose: &Active, subjects: u32) {
    let now = clock::monotonic_nanos();
    // The moment that the call's row carries: what is counted on a day now is found under it when the log is read again.
    let today = limit::day(call.entry.at);
    let rate = purpose.rate_limit_qps.and_then(positive);
    let cap = daily_cap(purpose);
    let work = |counters: &mut Counters| counters.admit(now, today, rate, cap, subjects);
    let (session, token) = (call.shape.session, &call.shape.purpose);
    let verdict =
        table::enter(session, token, now, today, work).unwrap_or(Err(Reason::RateLimited));
    let day = call.allow(verdict);
    call.counted.set(Some(Counted { day, subjects }));
}

/// Counts a question about how things stand, which names no purpose; false if the login has had its questions of this second.
pub fn admit_question(session: u32) -> bool {
    let now = clock::monotonic_nanos();
    let today = limit::day(clock::now_unix_micros());
    let work = |counters: &mut Counters| counters.call(now, QUESTIONS_PER_SECOND);
    // No purpose has such a name.
    table::enter(session, &Short::new("(questions)"), now, today, work).unwrap_or(false)
}

/// Takes back so many of the subjects that this call counted: they are not disclosed after all.
pub fn give_back(call: &Call, subjects: u32) {
    let Some(counted) = call.counted.take() else {
        return;
    };
    let given = subjects.min(counted.subjects);
    if given > 0 {
        table::find(call.shape.session, &call.shape.purpose, |counters| {
            counters.give_back(counted.day, given);
        });
    }
    call.counted.set(Some(Counted {
        subjects: counted.subjects - given,
        ..counted
    }));
}

/// The most subjects a day under a purpose, for each login.
pub fn daily_cap(purpose: &Active) -> u32 {
    purpose
        .daily_volume_cap
        .or_else(|| Some(SERVICE_DAILY_CEILING.get()))
        .and_then(positive)
        .unwrap_or(0)
}

fn positive(limit: i32) -> Option<u32> {
    u32::try_from(limit).ok().filter(|limit| *limit > 0)
}
