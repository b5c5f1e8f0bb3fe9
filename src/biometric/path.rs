//! Whether an uploaded file is ours to destroy: it lies under `identity_pgx.biometric_directory`, and its path carries the id of the subject it is of.
//!
//! The id, because a gateway names the path: without it, one could have any file there destroyed by attaching it to a subject of its own.

use crate::gucs;

/// As long as the path of a template may be.
const MAX_PATH_BYTES: usize = 1000;

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// The application's: in no directory of ours, or on no disk.
    Elsewhere,
    /// The names that lead to it from the directory.
    Ours(Vec<&'a str>),
    /// It leads into the directory, but not to a file of this subject's; or who knows where.
    Refused,
}

/// Whether a text can be a path.
pub fn bounded(path: &str) -> bool {
    (1..=MAX_PATH_BYTES).contains(&path.len())
}

/// Where a path leads, as the setting stands.
pub fn place<'a>(path: &'a str, candidate: &[u8; 16]) -> Place<'a> {
    match directory() {
        Some(directory) => place_in(&directory, path, candidate),
        None => Place::Elsewhere,
    }
}

/// The directory whose files are ours; `None` if there is none, or the setting names none that can be meant.
pub fn directory() -> Option<String> {
    let directory = gucs::biometric_directory();
    straight(&directory).is_some().then_some(directory)
}

fn place_in<'a>(directory: &str, path: &'a str, candidate: &[u8; 16]) -> Place<'a> {
    if !path.starts_with('/') {
        return Place::Elsewhere;
    }
    // Where a detour leads is known to the disk alone, and may be another place tomorrow.
    let Some(names) = straight(path) else {
        return Place::Refused;
    };
    let root = straight(directory).unwrap_or_default();
    if !names.starts_with(&root) {
        return Place::Elsewhere;
    }
    let below = names.into_iter().skip(root.len()).collect::<Vec<_>>();
    let id = pgrx::Uuid::from_bytes(*candidate).to_string();
    match below.iter().any(|name| name.starts_with(&id)) {
        true => Place::Ours(below),
        false => Place::Refused,
    }
}

/// The names in an absolute path that is written in the one way without detours.
fn straight(path: &str) -> Option<Vec<&str>> {
    let names = path.strip_prefix('/')?.split('/').collect::<Vec<_>>();
    let detour = names.iter().any(|name| matches!(*name, "" | "." | ".."));
    (!detour).then_some(names)
}
