//! The lists of tombstones in the store. Each is signed, and names the one before it: one that was taken out is missed, but for the last. Of a name the first locked
//! version counts, whatever was put over it.

use std::collections::HashSet;

use anchor_worker::store::{
    CHECKPOINTS, Entry, Object, Store, TOMBSTONES, declaration_key, folder, size_of,
};
use anchor_worker::trouble::{Kind, Trouble};
use identity_connect::Failure;
use identity_core::checkpoint::Checkpoint;
use identity_core::incarnation::{name, split};
use identity_core::note::{NoteError, VerifierKey};
use identity_core::tombstone::{List, Wrong};

use crate::report::Report;

const CHECK: &str = "tombstones";

/// Anchors that are tried for one that can be believed, where there is no list.
const MAX_ANCHORS: usize = 100;

/// What the store has.
pub struct Lists {
    /// The log that all of them are of, or its anchors; none if nothing there can be believed.
    pub log: Option<String>,
    /// How many there are.
    pub number: usize,
    /// The hashes of all of them.
    pub hashes: Vec<Vec<u8>>,
}

/// Where a list ends, and its hash.
type End = (u64, [u8; 32]);

/// Where the next list may begin. What was put late, past a writer that had given it up and begun another one in the same place, makes a second branch.
struct Chain {
    ends: HashSet<End>,
    followed: HashSet<End>,
    /// Where those end that could not be believed: of a list that begins there nobody can say what it follows on.
    unread: HashSet<u64>,
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
            number: 0,
            hashes: Vec::new(),
        },
    };
    for incarnation in 1.. {
        if incarnation > 1 && !declared(store, incarnation).await? {
            break;
        }
        reading.incarnation(incarnation).await?;
    }
    let mut lists = reading.lists;
    if report.findings() > before {
        return Ok(lists);
    }
    if lists.number == 0 {
        lists.log = anchored(store, keys).await?;
        // A place that is not the store has no lists either.
        match lists.log {
            Some(_) => report.good(CHECK, "the store has none: nobody's erasure was published"),
            None => report.unchecked(
                CHECK,
                "neither tombstones nor an anchor that a given key has signed: is this the store?",
            ),
        }
    } else {
        let (count, number) = (lists.hashes.len(), lists.number);
        let detail = format!(
            "published: {count}, in lists: {number}; each is signed, and none is missing between them"
        );
        report.good(CHECK, &detail);
    }
    Ok(lists)
}

/// The log of the first anchor that can be believed.
async fn anchored(store: &Store, keys: &[VerifierKey]) -> Result<Option<String>, Failure> {
    let folder = folder(1, CHECKPOINTS);
    let (mut versions, mut tried) = (store.versions(&folder), HashSet::new());
    while let Some(page) = versions.next().await.map_err(failure)? {
        for Entry { key, .. } in page {
            let Some(size) = size_of(&folder, &key).filter(|size| tried.insert(*size)) else {
                continue;
            };
            if tried.len() > MAX_ANCHORS {
                return Ok(None);
            }
            let object = match store.first(&key).await {
                Ok(Some(object)) => object,
                Ok(None) => continue,
                Err(trouble) if matches!(trouble.kind, Kind::Untrue | Kind::Missing) => continue,
                Err(trouble) => return Err(failure(trouble)),
            };
            let note = String::from_utf8_lossy(&object.body);
            if let Ok(anchor) = Checkpoint::open(&note, keys)
                && anchor.size == size
                && split(&anchor.origin).1 == 1
            {
                return Ok(Some(anchor.origin));
            }
        }
    }
    Ok(None)
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
            ends: HashSet::from([(0, [0; 32])]),
            followed: HashSet::new(),
            unread: HashSet::new(),
        };
        for (key, versions) in names(self.store, &folder).await? {
            let Some(to) = size_of(&folder, &key) else {
                self.bad(&key, "it is no name of a list");
                continue;
            };
            if versions > 1 {
                self.bad(&key, "something was put over it");
            }
            let believed = match self.store.first(&key).await {
                Ok(Some(object)) => self.take(&object, incarnation, to, &mut chain),
                Ok(None) => self.bad(&key, "no version of it is locked"),
                Err(trouble) if matches!(trouble.kind, Kind::Untrue | Kind::Missing) => {
                    self.bad(&key, &trouble.text)
                }
                Err(trouble) => return Err(failure(trouble)),
            };
            if !believed {
                chain.unread.insert(to);
            }
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
        let before = (head.from, head.previous);
        if !chain.ends.contains(&before) && !chain.unread.contains(&head.from) {
            self.bad(key, "the list before it is missing, or another one");
        } else if !chain.followed.insert(before) {
            let detail = format!("{key}: it begins where another list does; one of them came late");
            self.report.note(CHECK, &detail);
        }
        chain.ends.insert((head.to, list.digest));
        let hashes = list.tombstones.iter().map(|one| one.hash.to_vec());
        self.lists.hashes.extend(hashes);
        self.lists.number += 1;
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
