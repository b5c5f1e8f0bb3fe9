//! Whatever fails on the way, and whether it had happened all the same: every tombstone of an anchored leaf is published once, in order, in lists that follow on one
//! another.

use std::collections::BTreeMap;

use anchor_worker::step::tombstones::{Effect, Event, Log, Looked, Next, Round};
use anchor_worker::store::{Object, Stored};
use anchor_worker::trouble::Kind;
use ed25519_dalek::{Signer as _, SigningKey};
use identity_core::note::{VerifierKey, signature_line};
use identity_core::tombstone::{List, MAX_TOMBSTONES, Tombstone, What, digest};
use proptest::prelude::*;

const ORIGIN: &str = "identity_pgx/00000000-0000-4000-8000-000000000001";

struct World {
    key: SigningKey,
    /// By leaf.
    tombstones: BTreeMap<u64, Tombstone>,
    store: BTreeMap<u64, String>,
    size: u64,
    origin: String,
    folder: String,
    asked: Vec<(u64, u64)>,
}

impl World {
    fn new() -> Self {
        Self {
            key: SigningKey::from_bytes(&[7; 32]),
            tombstones: BTreeMap::new(),
            store: BTreeMap::new(),
            size: 0,
            origin: ORIGIN.into(),
            folder: "tombstones/".into(),
            asked: Vec::new(),
        }
    }

    fn vkey(&self) -> VerifierKey {
        VerifierKey::new(&self.origin, self.key.verifying_key().as_bytes()).unwrap()
    }

    fn erase(&mut self) {
        let hash = digest(&self.size.to_be_bytes());
        let what = What::ALL[hash[0] as usize % 2];
        self.tombstones.insert(self.size, Tombstone { what, hash });
        self.size += 1;
    }

    fn object(&self, size: u64) -> Option<Object> {
        let key = format!("{}{size:020}", self.folder);
        let body = self.store.get(&size)?.clone().into_bytes();
        Some(Object {
            key,
            body,
            stored: stored(),
        })
    }

    fn note(&self, text: &str) -> String {
        let signature = self.key.sign(text.as_bytes()).to_bytes();
        let line = signature_line(&self.origin, self.vkey().id(), &signature);
        format!("{text}\n{line}")
    }

    fn perform(&mut self, effect: Effect) -> Event {
        match effect {
            Effect::ReadLast => {
                let last = self.store.last_key_value().map(|(size, _)| *size);
                Event::Last(last.and_then(|size| self.object(size)))
            }
            Effect::Ask { from, to } => {
                self.asked.push((from, to));
                let found = self.tombstones.range(from..to).take(MAX_TOMBSTONES);
                Event::Tombstones(found.map(|(leaf, one)| (*leaf, *one)).collect())
            }
            Effect::Sign { text } => Event::Signed(self.note(&text)),
            Effect::Put { size, object } => {
                if self.store.contains_key(&size) {
                    return Event::Taken;
                }
                self.store.insert(size, object);
                Event::Put(stored())
            }
            Effect::ReadBack { size } => Event::ReadBack(self.object(size)),
        }
    }

    /// A round that ends by itself, or at the effect of this number, which happens or does not.
    fn round(
        &mut self,
        looked: &mut Looked,
        fails: Option<(usize, bool)>,
    ) -> Result<Option<usize>, Kind> {
        let log = Log {
            keys: vec![self.vkey()],
            origin: self.origin.clone(),
            folder: self.folder.clone(),
            size: self.size,
        };
        let (mut round, mut effect) = Round::begin(log);
        for number in 0.. {
            if let Some((_, happens)) = fails.filter(|(at, _)| *at == number) {
                if happens {
                    self.perform(effect);
                }
                return Ok(None);
            }
            let event = self.perform(effect);
            match round.next(looked, event).map_err(|trouble| trouble.kind)? {
                Next::End(count) => return Ok(Some(count)),
                Next::Do(next) => effect = next,
            }
        }
        unreachable!()
    }

    fn lists(&self) -> Vec<List> {
        let keys = [self.vkey()];
        let objects = self.store.values();
        objects
            .map(|object| List::open(object.as_bytes(), &keys).unwrap())
            .collect()
    }

    fn check(&self) {
        let (mut to, mut before, mut all) = (0, [0; 32], Vec::new());
        for list in self.lists() {
            assert_eq!((list.head.from, list.head.previous), (to, before));
            (to, before) = (list.head.to, list.digest);
            all.extend(list.tombstones);
        }
        let expected: Vec<_> = self.tombstones.values().copied().collect();
        assert_eq!(all, expected);
    }
}

fn stored() -> Stored {
    Stored {
        uri: "store:".into(),
        version_id: "1".into(),
        lock_until: 1,
    }
}

#[test]
fn the_newest_list_is_looked_for_from_where_it_last_was() {
    let mut world = World::new();
    let mut looked = Looked::default();
    assert_eq!(looked.newest(ORIGIN), None);
    world.erase();
    world.round(&mut looked, None).unwrap();
    assert_eq!(looked.newest(ORIGIN), Some(1), "it was put");
    assert_eq!(looked.newest("identity_pgx/another"), None);
    // Leaves without an erasure move nothing, and another process sees what is there.
    world.size = 5;
    let mut other = Looked::default();
    for looked in [&mut looked, &mut other] {
        world.round(looked, None).unwrap();
        assert_eq!(looked.newest(ORIGIN), Some(1));
    }
}

#[test]
fn where_nobody_was_erased_nothing_is_put() {
    let mut world = World::new();
    let mut looked = Looked::default();
    for size in [0, 5, 9] {
        world.size = size;
        assert_eq!(world.round(&mut looked, None), Ok(Some(0)));
    }
    assert!(world.store.is_empty());
    // Quiet leaves are looked at once.
    assert_eq!(world.asked, [(0, 5), (5, 9)]);
    world.erase();
    assert_eq!(world.round(&mut looked, None), Ok(Some(1)));
    let head = &world.lists()[0].head;
    assert_eq!((head.from, head.to), (0, 10));
}

#[test]
fn more_than_one_list_holds_are_several() {
    let mut world = World::new();
    for _ in 0..2 * MAX_TOMBSTONES + 3 {
        world.erase();
    }
    world.size += 5;
    assert_eq!(
        world.round(&mut Looked::default(), None),
        Ok(Some(2 * MAX_TOMBSTONES + 3))
    );
    let counts: Vec<_> = world
        .lists()
        .iter()
        .map(|list| list.tombstones.len())
        .collect();
    assert_eq!(counts, [MAX_TOMBSTONES, MAX_TOMBSTONES, 3]);
    world.check();
    assert_eq!(world.lists()[2].head.to, world.size);
}

#[test]
fn exactly_one_full_list_is_one() {
    let mut world = World::new();
    for _ in 0..MAX_TOMBSTONES {
        world.erase();
    }
    world.size += 5;
    assert_eq!(
        world.round(&mut Looked::default(), None),
        Ok(Some(MAX_TOMBSTONES))
    );
    assert_eq!(world.store.len(), 1);
    world.check();
}

/// What a process has seen of one incarnation says nothing of another, which begins at leaf 0 again.
#[test]
fn a_later_incarnation_begins_anew() {
    let mut world = World::new();
    let mut looked = Looked::default();
    world.size = 5;
    world.round(&mut looked, None).unwrap();
    world.origin = format!("{ORIGIN}/2");
    world.folder = "incarnations/2/tombstones/".into();
    world.tombstones.insert(
        1,
        Tombstone {
            what: What::Subject,
            hash: [1; 32],
        },
    );
    assert_eq!(world.round(&mut looked, None), Ok(Some(1)));
    world.check();
}

#[test]
fn nothing_is_put_behind_what_is_not_ours() {
    let mut good = World::new();
    good.erase();
    good.round(&mut Looked::default(), None).unwrap();
    let object = good.store[&1].clone();
    let (note, list) = object.rsplit_once("\n\u{2014}").unwrap();
    let unsigned = format!("{note}\n{}", list.lines().last().unwrap());
    let mut another = World::new();
    another.origin = "identity_pgx/another".into();
    another.erase();
    another.round(&mut Looked::default(), None).unwrap();
    for (size, wrong) in [
        (1, String::new()),
        (1, unsigned),
        (1, object.trim_end().to_owned()),
        (1, format!("{object}s {}\n", "0".repeat(64))),
        (1, another.store[&1].clone()),
        (1, good.note("another text\n")),
        (3, object),
    ] {
        let mut world = World::new();
        world.size = 9;
        world.tombstones.insert(
            8,
            Tombstone {
                what: What::Subject,
                hash: [1; 32],
            },
        );
        world.store.insert(size, wrong.clone());
        let before = world.store.clone();
        let refused = world.round(&mut Looked::default(), None);
        assert_eq!(refused, Err(Kind::Untrue), "{wrong}");
        assert_eq!(world.store, before);
    }
}

#[test]
fn published_beyond_what_is_anchored_is_refused() {
    let mut world = World::new();
    world.erase();
    world.erase();
    world.round(&mut Looked::default(), None).unwrap();
    world.size = 1;
    assert_eq!(world.round(&mut Looked::default(), None), Err(Kind::Untrue));
}

/// A database that answers what it was not asked, a signer that signs something else.
#[test]
fn what_was_not_asked_for_is_not_signed() {
    let begin = || {
        let world = World::new();
        let log = Log {
            keys: vec![world.vkey()],
            origin: ORIGIN.into(),
            folder: "tombstones/".into(),
            size: 9,
        };
        let (mut round, _) = Round::begin(log);
        let next = round.next(&mut Looked::default(), Event::Last(None));
        assert_eq!(next, Ok(Next::Do(Effect::Ask { from: 0, to: 9 })));
        (world, round)
    };
    let one = |leaf| {
        (
            leaf,
            Tombstone {
                what: What::Subject,
                hash: [leaf as u8; 32],
            },
        )
    };
    for wrong in [vec![one(9)], vec![one(2), one(1)], vec![one(1), one(1)]] {
        let (_, mut round) = begin();
        let next = round.next(&mut Looked::default(), Event::Tombstones(wrong));
        assert_eq!(next.unwrap_err().kind, Kind::Untrue);
    }
    let (world, mut round) = begin();
    round
        .next(&mut Looked::default(), Event::Tombstones(vec![one(1)]))
        .unwrap();
    let other = world.note("identity_pgx/x/tombstones\n0 9\n");
    let next = round.next(&mut Looked::default(), Event::Signed(other));
    assert_eq!(next.unwrap_err().kind, Kind::Untrue);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn nothing_is_lost_and_nothing_twice(steps in proptest::collection::vec((0usize..4, 0u64..3, proptest::option::of((0usize..6, any::<bool>())), any::<bool>()), 1..30)) {
        let mut world = World::new();
        let mut looked = Looked::default();
        for (erasures, others, fails, restarted) in steps {
            for _ in 0..erasures {
                world.erase();
            }
            world.size += others;
            if restarted {
                looked = Looked::default();
            }
            world.round(&mut looked, fails).unwrap();
        }
        world.round(&mut looked, None).unwrap();
        world.check();
    }
}
