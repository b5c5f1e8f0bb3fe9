//! What `pg_wal` may still hold of what lay in pages before a scrub.
//!
//! A segment that begins before the scrub holds it. One that was filled since does not: it was overwritten from end to end. One that is being filled, or
//! waits to be, may be an older one under a new name (`wal_recycle`): its pages say where in the log they were written.

use std::fs::{self, DirEntry, File};
use std::os::unix::fs::FileExt;

use pgrx::pg_sys;

const NAME_DIGITS: usize = 24;
const PAGE_BYTES: u64 = pg_sys::XLOG_BLCKSZ as u64;
/// Where a page says its address, behind magic, flags and timeline.
const ADDRESS_OFFSET: u64 = 8;

/// Whether a file of `pg_wal` may hold what was written before this place. What cannot be told counts as yes.
pub fn residue(lsn: u64) -> bool {
    // A backend's working directory is the data directory.
    let Ok(entries) = fs::read_dir("pg_wal") else {
        return true;
    };
    // SAFETY: reads the server's state.
    let (size, written) = unsafe {
        let size = u64::try_from(pg_sys::wal_segment_size).unwrap_or(1).max(1);
        (size, pg_sys::GetXLogWriteRecPtr())
    };
    let holds = |entry: DirEntry| {
        let Some(segment) = segment(&entry.file_name().to_string_lossy(), size) else {
            return false;
        };
        let begins = segment.saturating_mul(size);
        if begins < lsn {
            return true;
        }
        if begins + size <= written {
            return false;
        }
        // What was filled before begins with its first page; what is being filled goes on behind what was written.
        let from = written.saturating_sub(begins).next_multiple_of(PAGE_BYTES);
        let to = if from == 0 { PAGE_BYTES } else { size };
        File::open(entry.path()).map_or(true, |file| older(&file, from..to, lsn))
    };
    entries.into_iter().any(|entry| entry.map_or(true, holds))
}

/// Whether one of these pages was written before this place; one that never was has the address 0.
fn older(file: &File, pages: std::ops::Range<u64>, lsn: u64) -> bool {
    let step = usize::try_from(PAGE_BYTES).unwrap_or(1);
    pages.step_by(step).any(|page| {
        let mut address = [0; 8];
        match file.read_exact_at(&mut address, page + ADDRESS_OFFSET) {
            Ok(()) => (1..lsn).contains(&u64::from_ne_bytes(address)),
            Err(_) => true,
        }
    })
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
