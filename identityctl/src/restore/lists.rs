//! The lists of tombstones in the store. Each is signed, and names the one before it: one that was taken out is missed, but for the last. Of a name the first locked
//! version counts, whatever was put over it.

use anchor_worker::store::{Entry, Store, TOMBSTONES, declaration_key, folder, size_of};
use anchor_worker::trouble::{Kind, Trouble};
use identity_connect::Failure;
use identity_core::incarnation::{name, split};
use identity_core::note::{NoteError, VerifierKey};
use identity_core::tombstone::{List, Wrong};

use crate::report::Report;

const CHECK: &str = "tombstones";

/// What the store has.
pub struct Lists {
    /// The log that all of them are of; none if there is no list.
    pub log: Option<String>,
    /// The hashes of each list.
    pub hashes: Vec<Vec<Vec<u8>>>,
}

/// Where the next list has to begin.
struct Chain {
    to: u64,
    digest: [u8; 32],
    /// Whether the one before could be read.
    whole: bool,
}

pub async fn read(
    store: &Store,
    keys: &[VerifierKey],
    report: &mut Report,
) -> Result<Lists, Failure> {
    let mut lists = Lists {
        log: None,
        hashes: Vec::new(),
    };
    let before = report.findings();
    for incarnation in 1.. {
        if incarnation > 1 && declared(store, incarnation).await?.is_none() {
            break;
        }
        read_incarnation(store, keys, incarnation, &mut lists, report).await?;
    }
    let count: usize = lists.hashes.iter().map(Vec::len).sum();
    if count == 0 && report.findings() == before {
        report.good(CHECK, "the store has none: nobody's erasure was published");
    } else if report.findings() == before {
        let detail = format!(
            "{count} in {} lists: each is signed, and none is missing between them",
            lists.hashes.len()
        );
        report.good(CHECK, &detail);
    }
    Ok(lists)
}

async fn declared(store: &Store, incarnation: u32) -> Result<Option<()>, Failure> {
    let found = store.first(&declaration_key(incarnation)).await;
    Ok(found.map_err(failure)?.map(|_| ()))
}

async fn read_incarnation(
    store: &Store,
    keys: &[VerifierKey],
    incarnation: u32,
    lists: &mut Lists,
    report: &mut Report,
) -> Result<(), Failure> {
    let folder = folder(incarnation, TOMBSTONES);
    let mut chain = Chain {
        to: 0,
        digest: [0; 32],
        whole: true,
    };
    for (key, versions) in names(store, &folder).await? {
        if size_of(&folder, &key).is_none() {
            report.bad(CHECK, &format!("{key}: it is no name of a list"));
            continue;
        }
        if versions > 1 {
            report.bad(CHECK, &format!("{key}: something was put over it"));
        }
        match store.first(&key).await {
            Ok(Some(object)) => {
                take(
                    &object.body,
                    &key,
                    &folder,
                    incarnation,
                    keys,
                    &mut chain,
                    lists,
                    report,
                );
            }
            Ok(None) => lost(&mut chain, report, &key, "no version of it is locked"),
            Err(trouble) if matches!(trouble.kind, Kind::Untrue | Kind::Missing) => {
                lost(&mut chain, report, &key, &trouble.text);
            }
            Err(trouble) => return Err(failure(trouble)),
        }
    }
    Ok(())
}

/// The names below a folder in their order, each with how many versions and delete markers it has.
async fn names(store: &Store, folder: &str) -> Result<Vec<(String, usize)>, Failure> {
    let mut names: Vec<(String, usize)> = Vec::new();
    let mut versions = store.versions(folder);
    while let Some(page) = versions.next().await.map_err(failure)? {
        for Entry { key, .. } in page {
            match names.last_mut().filter(|(last, _)| *last == key) {
                Some((_, count)) => *count += 1,
                None => names.push((key, 1)),
            }
        }
    }
    Ok(names)
}

#[allow(clippy::too_many_arguments)]
fn take(
    body: &[u8],
    key: &str,
    folder: &str,
    incarnation: u32,
    keys: &[VerifierKey],
    chain: &mut Chain,
    lists: &mut Lists,
    report: &mut Report,
) {
    let list = match List::open(body, keys) {
        Ok(list) => list,
        Err(error @ Wrong::Note(NoteError::NotSigned)) => {
            chain.whole = false;
            return report.unchecked(CHECK, &format!("{key}: {error}"));
        }
        Err(error) => return lost(chain, report, key, &error.to_string()),
    };
    let head = &list.head;
    let log = lists
        .log
        .get_or_insert_with(|| split(&head.origin).0.to_owned());
    if head.origin != name(log, incarnation) || size_of(folder, key) != Some(head.to) {
        return lost(chain, report, key, "it does not belong there");
    }
    if chain.whole && (head.from, head.previous) != (chain.to, chain.digest) {
        let detail = format!("{key}: the list before it is missing, or another one");
        report.bad(CHECK, &detail);
    }
    *chain = Chain {
        to: head.to,
        digest: list.digest,
        whole: true,
    };
    let hashes = list.tombstones.iter().map(|one| one.hash.to_vec());
    lists.hashes.push(hashes.collect());
}

/// A list that cannot be believed: whether the next one follows on it nobody can say.
fn lost(chain: &mut Chain, report: &mut Report, key: &str, what: &str) {
    chain.whole = false;
    report.bad(CHECK, &format!("{key}: {what}"));
}

fn failure(trouble: Trouble) -> Failure {
    Failure(trouble.text)
}
