//! `identityctl incarnation`: how a log goes on that was restored from a backup, and so is shorter than what is anchored of it. `anchor-worker declare` puts
//! what was signed into effect.

pub mod draft;
pub mod sign;

use anchor_worker::trouble::{Kind, Trouble};
use identity_core::incarnation::Declaration;
use identity_core::moment;

use crate::report::Report;

/// What a declaration says, in words.
fn tell(declaration: &Declaration, report: &mut Report) {
    let Declaration {
        log,
        incarnation,
        kept,
        last,
        at,
        reason,
    } = declaration;
    report.note("log", log);
    let begins = format!(
        "{incarnation} begins, and the log is called {} from there on",
        declaration.origin()
    );
    report.note("incarnation", &begins);
    let kept_words = format!("the first {} leaves, root {}", kept.size, kept.root_text());
    report.note("kept", &kept_words);
    let lost = last.size.saturating_sub(kept.size);
    let lost = format!(
        "{lost} leaves that were anchored, from {} to {}; the last anchored root is {}",
        kept.size,
        last.size.saturating_sub(1),
        last.root_text()
    );
    report.note("lost", &lost);
    report.note("written", &moment::text(*at));
    report.note("reason", reason);
}

/// What is not what it must be is a finding; anything else could not be done.
fn trouble(report: &mut Report, check: &'static str, trouble: &Trouble) {
    if trouble.kind == Kind::Untrue {
        report.bad(check, &trouble.text);
    } else {
        report.unchecked(check, &trouble.text);
    }
}
