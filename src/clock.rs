//! Time and randomness: the core takes both as arguments, this is where they come from.

use pgrx::pg_sys;

use crate::error;

/// Microseconds between the Unix epoch and PostgreSQL's (2000-01-01).
pub const UNIX_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The wall clock, as `clock_timestamp()` has it, in microseconds since the Unix epoch.
pub fn now_unix_micros() -> i64 {
    now() + UNIX_EPOCH_MICROS
}

/// The wall clock in PostgreSQL's own unit: microseconds since 2000-01-01.
pub fn now() -> i64 {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

/// A clock that nobody can set, in nanoseconds: it begins when the machine does, and all processes of a server share it.
pub fn monotonic_nanos() -> u64 {
    let mut moment = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: fills the structure; this clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut moment) };
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    part(moment.tv_sec) * 1_000_000_000 + part(moment.tv_nsec)
}

/// Random bytes from the operating system, through PostgreSQL.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

/// The same so many times, asked for once: what a question costs does not depend on how many bytes it is for.
pub fn random_many<const N: usize>(count: usize) -> Vec<[u8; N]> {
    let mut many = vec![[0; N]; count];
    fill(many.as_flattened_mut());
    many
}

fn fill(bytes: &mut [u8]) {
    if !try_random(bytes) {
        error::fault("the operating system gave no random bytes");
    }
}

/// The same where nothing may be raised: false if there were none.
pub fn try_random(bytes: &mut [u8]) -> bool {
    // SAFETY: the buffer is as long as is said.
    unsafe { pg_sys::pg_strong_random(bytes.as_mut_ptr().cast(), bytes.len()) }
}
