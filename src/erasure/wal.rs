//! What `pg_wal` may still hold of what lay in pages before a scrub.
//!
//! A segment that begins before the scrub holds it. One that was filled since does not: it was overwritten from end to end. One that is being filled, or
//! waits to be, may be an older one under a new name (`wal_recycle`), with old bytes beyond what was written since; the file tells by when it was made.

use std::fs;
use std::time::{Duration, UNIX_EPOCH};

use pgrx::pg_sys;

use crate::clock::UNIX_EPOCH_MICROS;

const NAME_DIGITS: usize = 24;

/// Whether a file of `pg_wal` may hold what was scrubbed. What cannot be told counts as yes.
pub fn residue(lsn: u64, scrubbed_at: i64) -> bool {
    // A backend's working directory is the data directory.
    let Ok(entries) = fs::read_dir("pg_wal") else {
        return true;
    };
    // SAFETY: reads the server's state.
    let (size, filling) = unsafe {
        let size = u64::try_from(pg_sys::wal_segment_size).unwrap_or(1).max(1);
        (size, pg_sys::GetXLogWriteRecPtr() / size)
    };
    let scrubbed_at = u64::try_from(scrubbed_at.saturating_add(UNIX_EPOCH_MICROS)).unwrap_or(0);
    let scrubbed_at = UNIX_EPOCH + Duration::from_micros(scrubbed_at);
    let holds = |entry: fs::DirEntry| {
        let Some(segment) = segment(&entry.file_name().to_string_lossy(), size) else {
            return false;
        };
        let made = entry.metadata().and_then(|file| file.created());
        segment * size < lsn || segment >= filling && made.map_or(true, |made| made <= scrubbed_at)
    };
    entries.into_iter().any(|entry| entry.map_or(true, holds))
}

/// Whether segments are used again under new names.
pub fn recycles() -> bool {
    // SAFETY: reads a setting.
    unsafe {
        let value = pg_sys::GetConfigOption(c"wal_recycle".as_ptr(), true, false);
        value.is_null() || std::ffi::CStr::from_ptr(value) != c"off"
    }
}

/// The number of a segment by its file's name; of a partial one too.
fn segment(name: &str, size: u64) -> Option<u64> {
    let digits = name.get(..NAME_DIGITS)?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) || name.ends_with(".backup") {
        return None;
    }
    let part = |from, to| u64::from_str_radix(digits.get(from..to)?, 16).ok();
    Some(part(8, 16)? * (0x1_0000_0000 / size) + part(16, 24)?)
}
