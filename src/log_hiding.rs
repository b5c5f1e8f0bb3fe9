//! Keeps what is passed to our functions out of the server log.
//!
//! PostgreSQL logs statements and, by default, all bind parameters with them, at moments before our code runs. So a line about a statement is
//! stripped of its text and parameters if it names one of our functions, or if this session has called one before. The duration stays, and
//! so does the line: that a statement ran is never hidden.
//!
//! Why the whole session: `EXECUTE`, a user's wrapper function or a cursor reaches us without naming us. What a wrapper's very first call
//! logs before it reaches us is the one case left; docs/limits.md says how to close it.
//!
//! Lines are recognised by their untranslated format: their words depend on lc_messages.

use std::ffi::{CStr, CString, c_char};
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::recorder::slots;

/// The beginnings of function names, as they are in any text that calls one.
const NAMES: [&[u8]; 13] = [
    b"pii_",
    b"identity.",
    b"identity_",
    b"purpose_revoke",
    b"purpose_approve",
    b"caller_revoke",
    b"biometric_",
    b"erasure_",
    b"consent_",
    b"eu_record",
    b"interaction_record",
    b"text_observe",
    b"vertical_review",
];
/// Formats of the lines that log_statement writes.
const STATEMENTS: [&str; 3] = [
    "statement: %s",
    "%s %s%s%s: %s",
    "fastpath function call: \"%s\" (OID %u)",
];

static SESSION_REACHED: AtomicBool = AtomicBool::new(false);
static REWRITING: AtomicBool = AtomicBool::new(false);
static mut PREVIOUS: pg_sys::emit_log_hook_type = None;

/// Installs the hook. Called once, from `_PG_init`, while preloading.
pub fn install() {
    // SAFETY: preloading is single-threaded.
    unsafe {
        PREVIOUS = pg_sys::emit_log_hook;
        pg_sys::emit_log_hook = Some(emit);
    }
}

/// A function of ours was reached: from now on this session's statements are not logged in clear.
pub fn reached() {
    SESSION_REACHED.store(true, Ordering::Relaxed);
}

#[pg_guard]
unsafe extern "C-unwind" fn emit(report: *mut pg_sys::ErrorData) {
    unsafe {
        if let Some(report) = report.as_mut().filter(|report| report.output_to_server) {
            if REWRITING.load(Ordering::Relaxed) {
                // The statement comes with a line of ours too, and its literals with it.
                report.hide_stmt = true;
                report.hide_ctx = true;
            } else if concerns_us(report) {
                hide(report);
            }
        }
        if let Some(previous) = PREVIOUS {
            previous(report);
        }
    }
}

/// Only in the database that is served: elsewhere a comment that names us must not take a line out of the log.
unsafe fn concerns_us(report: &pg_sys::ErrorData) -> bool {
    // The postmaster runs no statement, and when it says that it is down, the shared memory is gone in which we would look.
    // SAFETY: constants of the process.
    if unsafe { pg_sys::IsPostmasterEnvironment && !pg_sys::IsUnderPostmaster } {
        return false;
    }
    if SESSION_REACHED.load(Ordering::Relaxed) {
        return true;
    }
    // SAFETY: constant once the session runs.
    let here = unsafe { pg_sys::MyDatabaseId }.to_u32();
    let elsewhere = slots::served_database().is_some_and(|served| served != here);
    !elsewhere
        && (unsafe {
            names_us(pg_sys::debug_query_string)
                || names_us(report.message)
                || names_us(report.detail)
        })
}

unsafe fn names_us(text: *const c_char) -> bool {
    if text.is_null() {
        return false;
    }
    let text = unsafe { CStr::from_ptr(text) }
        .to_bytes()
        .to_ascii_lowercase();
    NAMES
        .iter()
        .any(|name| text.windows(name.len()).any(|window| window == *name))
}

unsafe fn hide(report: &mut pg_sys::ErrorData) {
    report.hide_stmt = true;
    // CONTEXT may hold bind parameters, and the input of a conversion that failed.
    report.hide_ctx = true;
    unsafe {
        if report.elevel < PgLogLevel::ERROR as i32 {
            hide_statement(report);
        } else if tells_values(report) && !is_ours(report) {
            tell_without_values(report);
        }
    }
}

/// A line about a statement keeps what comes before the statement's text. DETAIL holds the parameters, or the text that was prepared.
unsafe fn hide_statement(report: &mut pg_sys::ErrorData) {
    unsafe {
        let format = text_of(report.message_id);
        let message = text_of(report.message);
        let shown = if STATEMENTS.contains(&format.as_str()) {
            "statement"
        } else if format.starts_with("duration: ") {
            // In every language two blanks part the duration from what took it.
            message
                .split_once("  ")
                .map_or(message.as_str(), |(duration, _)| duration)
        } else {
            return;
        };
        report.message = copy(
            report,
            &format!("{shown} (statement hidden by identity_pgx)"),
        );
        report.detail = std::ptr::null_mut();
        report.detail_log = std::ptr::null_mut();
    }
}

/// What PostgreSQL says of values it cannot take or keep quotes them. The client, who sent them, is told as ever; the log
/// gets the format without the values, as a line of its own, since one report cannot say two things.
unsafe fn tell_without_values(report: &mut pg_sys::ErrorData) {
    unsafe {
        let line = format!(
            "ERROR {}: {} (values hidden by identity_pgx)",
            state_of(report.sqlerrcode),
            text_of(report.message_id)
        );
        report.output_to_server = false;
        REWRITING.store(true, Ordering::Relaxed);
        pgrx::log!("{line}");
        REWRITING.store(false, Ordering::Relaxed);
    }
}

/// Whether an error of PostgreSQL's own quotes values: one about data it cannot take or keep always may; any other may once this session has
/// values of ours to compute with, unless it is about the server's own state, or the caller's own words (RAISE).
unsafe fn tells_values(report: &pg_sys::ErrorData) -> bool {
    let state = state_of(report.sqlerrcode);
    let of = |classes: &[&str]| classes.iter().any(|class| state.starts_with(class));
    let filled_in = unsafe {
        text_of(report.message) != text_of(report.message_id) || !report.detail.is_null()
    };
    of(&["22", "23", "44"])
        || (SESSION_REACHED.load(Ordering::Relaxed)
            && filled_in
            && !of(&["08", "40", "53", "57", "58", "P0", "XX"]))
}

/// The five characters of a SQLSTATE, which PostgreSQL packs six bits each, the first lowest.
fn state_of(code: i32) -> String {
    (0..5)
        .map(|at| char::from(u8::try_from((code >> (6 * at)) & 0x3F).unwrap_or(0) + b'0'))
        .collect()
}

unsafe fn is_ours(report: &pg_sys::ErrorData) -> bool {
    unsafe { text_of(report.detail).starts_with("reason: ") }
}

unsafe fn text_of(text: *const c_char) -> String {
    if text.is_null() {
        String::new()
    } else {
        unsafe { CStr::from_ptr(text) }
            .to_string_lossy()
            .into_owned()
    }
}

/// A text that lives as long as the report.
unsafe fn copy(report: &pg_sys::ErrorData, text: &str) -> *mut c_char {
    let text = CString::new(text).unwrap_or_default();
    unsafe { pg_sys::MemoryContextStrdup(report.assoc_context, text.as_ptr()) }
}
