//! Rounds of anchoring against a database and a store that are a few lines each, with everything going wrong that can: effects that fail before or
//! after they happen, a worker killed between any two of them, two workers at once, and a database whose history was rewritten.

mod incarnations;
mod world;

use anchor_worker::step::anchor::{Effect, End, Event, Next, Round};
use anchor_worker::step::known::Known;
use anchor_worker::step::refusal::Refusal;
use ed25519_dalek::SigningKey;
use identity_core::checkpoint::Checkpoint;
use proptest::prelude::*;

use world::*;

/// What happens next to one of the workers, or to the world.
#[derive(Clone, Debug)]
enum Happening {
    Rows(u8),
    /// The effect that a worker waits for is done, and answered.
    Works(usize),
    /// It is not done.
    Fails(usize),
    /// It is done, and nobody hears of it.
    Unheard(usize),
    /// The worker is killed and started again: it knows nothing.
    Killed(usize),
}

fn happening(workers: usize) -> impl Strategy<Value = Happening> {
    let worker = 0..workers;
    prop_oneof![
        3 => (0u8..5).prop_map(Happening::Rows),
        12 => worker.clone().prop_map(Happening::Works),
        1 => worker.clone().prop_map(Happening::Fails),
        1 => worker.clone().prop_map(Happening::Unheard),
        1 => worker.prop_map(Happening::Killed),
    ]
}

/// A worker between two effects.
struct Worker {
    known: Known,
    round: Option<(Round, Effect)>,
}

impl Worker {
    fn new() -> Self {
        Self {
            known: Known::new(Vec::new()),
            round: None,
        }
    }

    /// The effect that it waits for; a new round's first, if there is none under way.
    fn waits_for(&mut self) -> Result<Effect, End> {
        if let Some((_, effect)) = &self.round {
            return Ok(effect.clone());
        }
        match Round::begin(&self.known) {
            (_, Next::End(end)) => Err(end),
            (round, Next::Do(effect)) => {
                self.round = Some((round, effect.clone()));
                Ok(effect)
            }
        }
    }

    fn hears(&mut self, event: Event) -> Option<End> {
        let (mut round, _) = self.round.take()?;
        match round.next(&mut self.known, event) {
            Next::End(end) => Some(end),
            Next::Do(effect) => {
                self.round = Some((round, effect));
                None
            }
        }
    }
}

fn play(world: &mut World, workers: &mut [Worker], happenings: Vec<Happening>) -> Vec<End> {
    let mut ends = Vec::new();
    for happening in happenings {
        match happening {
            Happening::Rows(rows) => world.grow(rows),
            Happening::Works(number) => match workers[number].waits_for() {
                Err(end) => ends.push(end),
                Ok(effect) => match world.perform(effect) {
                    None => workers[number].round = None,
                    Some(event) => ends.extend(workers[number].hears(event)),
                },
            },
            Happening::Fails(number) => workers[number].round = None,
            Happening::Unheard(number) => {
                if let Ok(effect) = workers[number].waits_for() {
                    world.perform(effect);
                }
                workers[number].round = None;
            }
            Happening::Killed(number) => workers[number] = Worker::new(),
        }
    }
    ends
}

fn refused(ends: &[End]) -> bool {
    ends.iter().any(|end| matches!(end, End::Refused(_)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn one_worker_leaves_no_gap_and_nothing_twice(
        happenings in proptest::collection::vec(happening(1), 0..160)
    ) {
        let mut world = World::new();
        let mut workers = [Worker::new()];
        let ends = play(&mut world, &mut workers, happenings);
        prop_assert!(!refused(&ends), "{ends:?}");
        // When all is well again, one round is enough.
        world.grow(1);
        let end = world.round(&mut workers[0].known);
        prop_assert!(matches!(end, End::Anchored { tree, .. } if tree.size == world.tree.size()), "{end:?}");
        world.store_is_consistent(&world.tree);
        // The database knows each anchor that there is, whoever died before it could say so.
        prop_assert!(world.recorded.iter().eq(world.store.keys()));
    }

    #[test]
    fn two_workers_at_once_make_one_history_and_accuse_nobody(
        happenings in proptest::collection::vec(happening(2), 0..240)
    ) {
        let mut world = World::new();
        let mut workers = [Worker::new(), Worker::new()];
        let ends = play(&mut world, &mut workers, happenings);
        prop_assert!(!refused(&ends), "{ends:?}");
        world.store_is_consistent(&world.tree);
    }

    #[test]
    fn a_rewritten_history_is_never_signed(
        before in proptest::collection::vec(happening(1), 20..120),
        after in proptest::collection::vec(happening(1), 0..120),
        place in any::<prop::sample::Index>(),
        cut in any::<bool>(),
        more in 0u8..40,
    ) {
        let mut world = World::new();
        let mut workers = [Worker::new()];
        play(&mut world, &mut workers, before);
        world.grow(2);
        // The worker may be anywhere in a round when it happens.
        world.round(&mut Known::new(Vec::new()));
        let honest = world.tree.clone();
        let (store, signed) = (world.store.clone(), world.signed.len());
        let at = place.index(honest.leaves.len());
        let mut leaves = honest.leaves.clone();
        if cut {
            leaves.truncate(at);
        } else {
            leaves[at] = leaf(at as u64, 1);
        }
        world.tree = Tree::of(leaves);
        world.history = 1;
        world.grow(more);
        // What the worker heard before is not what it is asked about here.
        workers[0].round = None;
        play(&mut world, &mut workers, after);
        let end = world.round(&mut workers[0].known);
        prop_assert!(matches!(end, End::Refused(_)), "{end:?}");
        prop_assert_eq!(world.signed.len(), signed);
        prop_assert_eq!(&world.store, &store);
        // It does not change its mind, even about a database that was put right: a person has to look.
        world.tree = honest;
        world.unsealed.clear();
        prop_assert!(matches!(world.round(&mut workers[0].known), End::Refused(_)));
        let end = world.round(&mut Known::new(Vec::new()));
        prop_assert!(matches!(end, End::Nothing { .. }), "{end:?}");
    }
}

/// A world with anchors at 3 and 7, and a worker that knows them.
fn anchored() -> (World, Known) {
    let (mut world, mut known) = (World::new(), Known::new(Vec::new()));
    for rows in [3, 4] {
        world.grow(rows);
        assert!(matches!(world.round(&mut known), End::Anchored { .. }));
    }
    assert_eq!(world.store.keys().copied().collect::<Vec<_>>(), [3, 7]);
    (world, known)
}

fn refusal(end: End) -> Refusal {
    match end {
        End::Refused(refusal) => refusal,
        end => panic!("{end:?}"),
    }
}

#[test]
fn nothing_new_is_nothing_to_sign() {
    let (mut world, mut known) = anchored();
    let signed = world.signed.len();
    assert_eq!(world.round(&mut known), End::Nothing { size: 7 });
    assert_eq!(
        world.round(&mut Known::new(Vec::new())),
        End::Nothing { size: 7 }
    );
    assert_eq!(world.signed.len(), signed);
}

#[test]
fn an_empty_log_is_not_anchored() {
    let mut world = World::new();
    let end = world.round(&mut Known::new(Vec::new()));
    assert_eq!(end, End::Nothing { size: 0 });
    assert!(world.store.is_empty());
}

#[test]
fn as_many_rows_with_another_root_are_refused() {
    let (mut world, mut known) = anchored();
    let mut leaves = world.tree.leaves.clone();
    leaves[6] = leaf(6, 1);
    world.tree = Tree::of(leaves);
    let found = refusal(world.round(&mut known));
    assert_eq!(found.code(), "different");
    // Both trees are named, for whoever looks.
    let text = found.to_string();
    assert_eq!(text.matches("size 7 root ").count(), 2, "{text}");
}

#[test]
fn fewer_rows_are_refused_by_that_name() {
    let (mut world, mut known) = anchored();
    let mut leaves = world.tree.leaves.clone();
    leaves.truncate(6);
    world.tree = Tree::of(leaves);
    let found = refusal(world.round(&mut known));
    assert_eq!(found.code(), "shorter");
    let text = found.to_string();
    assert!(
        text.contains("size 7 root ") && text.contains("size 6 root "),
        "{text}"
    );
}

#[test]
fn an_anchor_of_another_key_is_refused_and_one_of_a_former_key_is_not() {
    let (mut world, mut known) = anchored();
    let old = vkey(&world.key, ORIGIN);
    world.key = SigningKey::from_bytes(&[8; 32]);
    world.grow(1);
    assert_eq!(
        refusal(world.round(&mut Known::new(Vec::new()))).code(),
        "not_ours"
    );
    let other = vkey(&SigningKey::from_bytes(&[7; 32]), "identity_pgx/another");
    assert_eq!(
        refusal(world.round(&mut Known::new(vec![other]))).code(),
        "not_ours"
    );
    let end = world.round(&mut Known::new(vec![old]));
    assert!(matches!(end, End::Anchored { .. }), "{end:?}");
    // The process that still has the old key sees what it does not know.
    assert_eq!(refusal(world.round(&mut known)).code(), "not_ours");
}

#[test]
fn a_former_key_of_another_log_does_not_speak_for_ours() {
    let (mut world, _) = anchored();
    let (key, name) = (SigningKey::from_bytes(&[9; 32]), "identity_pgx/another");
    let other = Checkpoint {
        origin: name.into(),
        ..world.checkpoint()
    };
    world.store.insert(7, note(&key, &other.text(), name));
    let mut known = Known::new(vec![vkey(&key, name)]);
    assert_eq!(refusal(world.round(&mut known)).code(), "not_ours");
}

#[test]
fn an_anchor_that_was_seen_and_is_gone_or_another_is_refused() {
    let (mut world, mut known) = anchored();
    world.store.remove(&7);
    assert_eq!(refusal(world.round(&mut known)).code(), "gone");
    let (mut world, mut known) = anchored();
    world.store.clear();
    world.grow(1);
    assert_eq!(refusal(world.round(&mut known)).code(), "gone");
    let (mut world, mut known) = anchored();
    let other = Checkpoint {
        root: [9; 32],
        ..world.checkpoint()
    };
    world
        .store
        .insert(7, note(&world.key, &other.text(), ORIGIN));
    assert_eq!(refusal(world.round(&mut known)).code(), "replaced");
    let (mut world, mut known) = anchored();
    let older = world.store[&3].clone();
    world.store.insert(7, older);
    assert_eq!(refusal(world.round(&mut known)).code(), "misplaced");
}

#[test]
fn another_log_is_refused() {
    let (mut world, mut known) = anchored();
    world.origin = "identity_pgx/00000000-0000-4000-8000-000000000002".into();
    world.grow(1);
    assert_eq!(refusal(world.round(&mut known)).code(), "another_log");
    assert_eq!(
        refusal(world.round(&mut Known::new(Vec::new()))).code(),
        "not_ours"
    );
    assert_eq!(world.store.len(), 2);
}

#[test]
fn further_lines_are_not_signed() {
    let (mut world, mut known) = anchored();
    world.grow(1);
    let (mut round, _) = Round::begin(&known);
    round.next(&mut known, Event::Sealed);
    let text = world.checkpoint().text() + "what no log of ours says\n";
    let next = round.next(&mut known, Event::Checkpoint(text));
    assert_eq!(next, Next::End(End::Refused(Refusal::NoCheckpoint)));
}

#[test]
fn another_tree_at_our_place_is_refused_and_ours_is_gone_on_with() {
    for ours in [true, false] {
        let (mut world, mut known) = anchored();
        world.grow(1);
        let (mut round, mut next) = Round::begin(&known);
        let end = loop {
            match next {
                Next::End(end) => break end,
                Next::Do(effect) => {
                    if matches!(effect, Effect::Put { .. }) {
                        let other = Checkpoint {
                            root: [9; 32],
                            ..world.checkpoint()
                        };
                        let put = if ours { world.checkpoint() } else { other };
                        world.store.insert(8, note(&world.key, &put.text(), ORIGIN));
                    }
                    let event = world.perform(effect).unwrap();
                    next = round.next(&mut known, event);
                }
            }
        };
        match end {
            End::Anchored { tree, .. } => assert!(ours && tree.size == 8),
            end => assert!(!ours && refusal(end).code() == "forked"),
        }
        assert_eq!(world.recorded.contains(&8), ours);
    }
}

#[test]
fn an_answer_that_was_not_asked_for_ends_the_round_and_signs_nothing() {
    let mut known = Known::new(Vec::new());
    let (mut round, _) = Round::begin(&known);
    let next = round.next(&mut known, Event::Signed("x".into()));
    assert!(matches!(next, Next::End(End::Trouble(_))), "{next:?}");
    assert!(matches!(
        round.next(&mut known, Event::Sealed),
        Next::End(End::Trouble(_))
    ));
}
