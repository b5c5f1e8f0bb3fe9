//! Every key with all its versions. The first locked one is the true one; what else there is, somebody put there to be taken for it.

use anchor_worker::store::{CHECKPOINTS, Entry, Object, Store, folder, size_of};
use anchor_worker::trouble::{Kind, Trouble};
use futures_util::{StreamExt, stream};
use identity_connect::Failure;
use identity_core::checkpoint::Checkpoint;
use identity_core::note::{NoteError, VerifierKey};
use indicatif::ProgressBar;

use super::failure;
use super::history::{Anchor, History};
use crate::report::Report;

/// Keys that are read at once.
const AT_ONCE: usize = 8;

/// The versions of one key, the newest first.
type Group = Vec<Entry>;

/// What is found at one key.
pub struct Found {
    key: String,
    /// The first locked version, and when it was put there.
    pub first: Option<(Object, i64)>,
    findings: Vec<String>,
}

/// Reads the anchors of one incarnation.
pub async fn walk(
    store: &Store,
    incarnation: u32,
    keys: &[VerifierKey],
    history: &mut History,
    report: &mut Report,
) -> Result<(), Failure> {
    let folder = folder(incarnation, CHECKPOINTS);
    let progress = ProgressBar::new_spinner();
    let before = report.findings();
    let (mut versions, mut group) = (store.versions(&folder), Group::new());
    let (mut names, mut all) = (0_u64, 0_u64);
    loop {
        let page = versions.next().await.map_err(failure)?;
        let last = page.is_none();
        let mut groups = Vec::new();
        for entry in page.into_iter().flatten() {
            all += 1;
            // The last group of a page may go on in the next.
            if group.last().is_some_and(|other| other.key != entry.key) {
                groups.push(core::mem::take(&mut group));
            }
            group.push(entry);
        }
        if last && !group.is_empty() {
            groups.push(core::mem::take(&mut group));
        }
        let reads = groups.into_iter().map(|group| {
            let named = |key: &str| size_of(&folder, key).is_some();
            read(store, group, named)
        });
        let mut reads = stream::iter(reads).buffered(AT_ONCE);
        while let Some(found) = reads.next().await {
            names += 1;
            progress.set_position(names);
            take(found.map_err(failure)?, &folder, keys, history, report);
        }
        if last {
            break;
        }
    }
    progress.finish_and_clear();
    if report.findings() == before && names > 0 {
        let detail = format!(
            "{all} versions of {names} names: each is the only one of its name, and signed"
        );
        report.good("versions", &detail);
    }
    if history.anchors().is_empty() {
        match incarnation {
            1 => report.unchecked("versions", "there is no anchor"),
            later => {
                let note = format!("incarnation {later}: there is no anchor of it yet");
                report.note("versions", &note);
            }
        }
    }
    Ok(())
}

/// The one document that is called so, as it was put there first.
pub async fn document(store: &Store, key: &str, report: &mut Report) -> Result<Found, Failure> {
    let (mut versions, mut group) = (store.versions(key), Group::new());
    while let Some(page) = versions.next().await.map_err(failure)? {
        for entry in page {
            if entry.key == key {
                group.push(entry);
            } else {
                report.bad("versions", &format!("{}: it is no name of ours", entry.key));
            }
        }
    }
    if group.is_empty() {
        return Ok(Found {
            key: key.into(),
            first: None,
            findings: Vec::new(),
        });
    }
    let found = read(store, group, |_| true).await.map_err(failure)?;
    tell(&found, report);
    Ok(found)
}

fn tell(found: &Found, report: &mut Report) {
    for finding in &found.findings {
        report.bad("versions", &format!("{}: {finding}", found.key));
    }
}

/// Reads the versions of one key, from the oldest on, until one is locked.
async fn read(store: &Store, group: Group, named: impl Fn(&str) -> bool) -> Result<Found, Trouble> {
    let mut found = Found {
        key: group
            .first()
            .map(|entry| entry.key.clone())
            .unwrap_or_default(),
        first: None,
        findings: Vec::new(),
    };
    let mut finding = |what: String| found.findings.push(what);
    if !named(&found.key) {
        finding("it is no name of an anchor".into());
        return Ok(found);
    }
    for entry in group.iter().rev() {
        let version = &entry.version_id;
        if entry.delete_marker {
            finding(format!("a delete marker hides it (version {version})"));
        } else if found.first.is_some() {
            finding(format!("version {version} was put over it"));
        } else {
            match store.read(entry).await {
                Ok(object) if object.stored.lock_until > 0 => {
                    found.first = Some((object, entry.modified));
                }
                Ok(_) => finding(format!("version {version} is not locked")),
                Err(trouble) if matches!(trouble.kind, Kind::Untrue | Kind::Missing) => {
                    finding(trouble.text);
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }
    if found.first.is_none() {
        found
            .findings
            .push("no version of it can be believed".into());
    }
    Ok(found)
}

fn take(
    found: Found,
    folder: &str,
    keys: &[VerifierKey],
    history: &mut History,
    report: &mut Report,
) {
    tell(&found, report);
    let Found { key, first, .. } = found;
    let Some((object, modified)) = first else {
        return;
    };
    let note = core::str::from_utf8(&object.body).map_err(|_| NoteError::Malformed);
    let checkpoint = match note.and_then(|note| Checkpoint::open(note, keys)) {
        Ok(checkpoint) => checkpoint,
        Err(error @ NoteError::NotSigned) => {
            return report.unchecked("signatures", &format!("{key}: {error}"));
        }
        Err(error) => return report.bad("signatures", &format!("{key}: {error}")),
    };
    if size_of(folder, &key) != Some(checkpoint.size) {
        let detail = format!("{key}: it is of {} leaves", checkpoint.size);
        return report.bad("signatures", &detail);
    }
    let anchor = Anchor {
        tree: checkpoint.tree(),
        stored: object.stored,
        modified,
    };
    history.add(&checkpoint.origin, anchor, report);
}
