//! The lists of tombstones in the store. Each is signed, and names the one before it: one that was taken out is missed, but for the last. Of a name the first locked
//! version counts, whatever was put over it.

use anchor_worker::store::{Entry, Object, Store, TOMBSTONES, declaration_key, folder, size_of};
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
    let before = report.findings();
    let mut reading = Reading {
        store,
        keys,
        report,
        lists: Lists {
            log: None,
            hashes: Vec::new(),
        },
    };
    for incarnation in 1.. {
        if incarnation > 1 && !declared(store, incarnation).await? {
            break;
        }
        reading.incarnation(incarnation).await?;
    }
    let lists = reading.lists;
    let count: usize = lists.hashes.iter().map(Vec::len).sum();
    if count == 0 && report.findings() == before {
        report.good(CHECK, "the store has none: nobody's erasure was published");
    } else if report.findings() == before {
        let number = lists.hashes.len();
        let detail = format!(
            "published: {count}, in lists: {number}; each is signed, and none is missing between them"
        );
        report.good(CHECK, &detail);
    }
    Ok(lists)
}

async fn declared(store: &Store, incarnation: u32) -> Result<bool, Failure> {
    let found = store.first(&declaration_key(incarnation)).await;
    Ok(found.map_err(failure)?.is_some())
}

/// What is read so far.
struct Reading<'a> {
    store: &'a Store,
    keys: &'a [VerifierKey],
    report: &'a mut Report,
    lists: Lists,
}

impl Reading<'_> {
    async fn incarnation(&mut self, incarnation: u32) -> Result<(), Failure> {
        let folder = folder(incarnation, TOMBSTONES);
        let mut chain = Chain {
            to: 0,
            digest: [0; 32],
            whole: true,
        };
        for (key, versions) in names(self.store, &folder).await? {
            let Some(to) = size_of(&folder, &key) else {
                self.bad(&key, "it is no name of a list");
                continue;
            };
            if versions > 1 {
                self.bad(&key, "something was put over it");
            }
            // Of one that cannot be believed nobody can say whether the next one follows on it.
            chain.whole = match self.store.first(&key).await {
                Ok(Some(object)) => self.take(&object, incarnation, to, &mut chain),
                Ok(None) => self.bad(&key, "no version of it is locked"),
                Err(trouble) if matches!(trouble.kind, Kind::Untrue | Kind::Missing) => {
                    self.bad(&key, &trouble.text)
                }
                Err(trouble) => return Err(failure(trouble)),
            };
        }
        Ok(())
    }

    /// Whether the list can be believed.
    fn take(&mut self, object: &Object, incarnation: u32, to: u64, chain: &mut Chain) -> bool {
        let key = &object.key;
        let list = match List::open(&object.body, self.keys) {
            Ok(list) => list,
            Err(error @ Wrong::Note(NoteError::NotSigned)) => {
                self.report.unchecked(CHECK, &format!("{key}: {error}"));
                return false;
            }
            Err(error) => return self.bad(key, &error.to_string()),
        };
        let head = &list.head;
        let log = split(&head.origin).0.to_owned();
        let log = self.lists.log.get_or_insert(log);
        if head.origin != name(log, incarnation) || head.to != to {
            return self.bad(key, "it does not belong there");
        }
        if chain.whole && (head.from, head.previous) != (chain.to, chain.digest) {
            self.bad(key, "the list before it is missing, or another one");
        }
        (chain.to, chain.digest) = (head.to, list.digest);
        let hashes = list.tombstones.iter().map(|one| one.hash.to_vec());
        self.lists.hashes.push(hashes.collect());
        true
    }

    fn bad(&mut self, key: &str, what: &str) -> bool {
        self.report.bad(CHECK, &format!("{key}: {what}"));
        false
    }
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

fn failure(trouble: Trouble) -> Failure {
    Failure(trouble.text)
}
