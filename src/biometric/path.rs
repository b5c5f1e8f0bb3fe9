//! Whether an uploaded file is ours to destroy: it lies under `identity_pgx.biometric_directory`, and its path carries the id of the subject it is of.
//!
//! The id, because a gateway names the path: without it, one could have any file there destroyed by attaching it to a subject of its own.

use crate::gucs;

/// As long as the path of a template may be.
const MAX_PATH_BYTES: usize = 1000;

#[derive(Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// The application's: in no directory of ours, or on no disk.
    Elsewhere,
    /// The names that lead to it from the directory.
    Ours(Vec<&'a str>),
    /// It leads into the directory, but not to a file of this subject's, or not straight.
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
    let straight = straight(&directory).is_some_and(|names| !names.is_empty());
    straight.then_some(directory)
}

fn place_in<'a>(directory: &str, path: &'a str, candidate: &[u8; 16]) -> Place<'a> {
    let inside = |names: &[&str]| {
        let root = straight(directory).unwrap_or_default();
        names.starts_with(&root).then_some(root.len())
    };
    let Some(names) = straight(path) else {
        let there = resolved(path).and_then(|names| inside(&names));
        return there.map_or(Place::Elsewhere, |_| Place::Refused);
    };
    let Some(depth) = inside(&names) else {
        return Place::Elsewhere;
    };
    let below = names.into_iter().skip(depth).collect::<Vec<_>>();
    let id = pgrx::Uuid::from_bytes(*candidate).to_string();
    match below.iter().any(|name| name.starts_with(&id)) {
        true => Place::Ours(below),
        false => Place::Refused,
    }
}

/// The names in an absolute path that is written in the one way without detours.
fn straight(path: &str) -> Option<Vec<&str>> {
    let names = path.strip_prefix('/')?.split('/').collect::<Vec<_>>();
    let detour = |name: &&str| matches!(*name, "" | "." | "..");
    (!names.iter().any(|name| detour(&name))).then_some(names)
}

/// The names in an absolute path with its detours taken out, as far as that can be said without looking at the disk.
fn resolved(path: &str) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    for name in path.strip_prefix('/')?.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            _ => names.push(name),
        }
    }
    Some(names)
}
