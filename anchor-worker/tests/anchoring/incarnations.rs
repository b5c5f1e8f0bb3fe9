//! Restores: a log that became shorter goes on only under a declaration that both parties have signed, and that continues what came before.

use anchor_worker::step::anchor::End;
use anchor_worker::step::known::Known;
use ed25519_dalek::SigningKey;
use identity_core::checkpoint::Checkpoint;
use identity_core::incarnation::{Declaration, Parties};
use proptest::prelude::*;

use crate::refusal;
use crate::world::*;

/// Anchors at 3, 7 and 10; restored to 5 leaves since.
fn restored() -> (World, Pair) {
    let (mut world, mut known) = (World::new(), Known::new(Vec::new()));
    for rows in [3, 4, 3] {
        world.grow(rows);
        assert!(matches!(world.round(&mut known), End::Anchored { .. }));
    }
    restore(&mut world, 5);
    (world, Pair::new())
}

/// The database is as it was when it had so many leaves; what comes now are other rows.
fn restore(world: &mut World, size: u64) {
    let leaves = world.tree.leaves[..usize::try_from(size).unwrap()].to_vec();
    world.tree = Tree::of(leaves);
    world.unsealed.clear();
    world.history += 1;
    world.recorded.retain(|anchored| *anchored <= size);
}

/// A worker that was just started.
fn worker(pair: &Pair) -> Known {
    let mut known = Known::new(Vec::new());
    known.parties = Some(pair.parties.clone());
    known
}

fn anchored(end: End) -> u64 {
    match end {
        End::Anchored { tree, .. } => tree.size,
        end => panic!("{end:?}"),
    }
}

/// What a worker says to a database in the second incarnation, with this in the store.
fn says(world: &mut World, pair: &Pair, declaration: &Declaration, note: String) -> &'static str {
    world.declare(declaration, note);
    world.grow(2);
    let signed = world.signed.len();
    let code = refusal(world.round(&mut worker(pair))).code();
    assert_eq!(world.signed.len(), signed, "{code}");
    code
}

#[test]
fn a_restored_log_is_refused_with_a_hint_until_it_is_declared() {
    let (mut world, pair) = restored();
    world.grow(2);
    let found = refusal(world.round(&mut worker(&pair)));
    assert_eq!(found.code(), "shorter");
    assert!(found.hint().unwrap().contains("declare an incarnation"));
    // Longer again, with other rows: no less refused.
    world.grow(20);
    assert_eq!(refusal(world.round(&mut worker(&pair))).code(), "rewritten");

    let declaration = world.declaration(5);
    world.declare(&declaration, pair.sign(&declaration));
    let mut known = worker(&pair);
    assert_eq!(anchored(world.round(&mut known)), 27);
    world.grow(1);
    assert_eq!(anchored(world.round(&mut known)), 28);
    assert!(
        world
            .store
            .values()
            .all(|note| opened(note).origin.ends_with("/2"))
    );
    // What was anchored before stays where it was.
    assert!(world.former[&1].keys().eq(&[3, 7, 10]));
    assert_eq!(anchored_again(&mut world, &pair), End::Nothing { size: 28 });
}

fn anchored_again(world: &mut World, pair: &Pair) -> End {
    world.round(&mut worker(pair))
}

#[test]
fn what_an_incarnation_begins_with_is_kept() {
    let (mut world, pair) = restored();
    let declaration = world.declaration(5);
    // Between the declaration and the first anchor somebody rewrites what was kept.
    let mut leaves = world.tree.leaves.clone();
    leaves[4] = leaf(4, 9);
    world.tree = Tree::of(leaves);
    let note = pair.sign(&declaration);
    assert_eq!(says(&mut world, &pair, &declaration, note), "rewritten");
    // Or takes some of it away.
    let (mut world, pair) = restored();
    let declaration = world.declaration(5);
    restore(&mut world, 2);
    let note = pair.sign(&declaration);
    assert_eq!(says(&mut world, &pair, &declaration, note), "shorter");
}

#[test]
fn no_database_declares_itself() {
    let (mut world, pair) = restored();
    world.origin = format!("{ORIGIN}/2");
    assert_eq!(
        refusal(world.round(&mut worker(&pair))).code(),
        "undeclared"
    );
    world.origin = format!("{ORIGIN}/4000000000");
    assert_eq!(
        refusal(world.round(&mut worker(&pair))).code(),
        "undeclared"
    );
    // Nor does a worker believe it that does not know whose word counts.
    let declaration = world.declaration(5);
    world.declare(&declaration, pair.sign(&declaration));
    let end = world.round(&mut Known::new(Vec::new()));
    assert_eq!(refusal(end).code(), "no_parties");
    world.grow(1);
    assert_eq!(anchored(world.round(&mut worker(&pair))), 6);
}

#[test]
fn it_takes_both_parties() {
    let attempts: [(&str, fn(&Pair, &Declaration) -> String); 6] = [
        ("unsigned", |_, declaration| declaration.text()),
        ("the operator alone", |pair, declaration| {
            note(&pair.keys[0], &declaration.text(), "operator.example")
        }),
        ("counsel alone", |pair, declaration| {
            note(&pair.keys[1], &declaration.text(), "counsel.example")
        }),
        ("the operator under both names", |pair, declaration| {
            let text = declaration.text();
            let first = note(&pair.keys[0], &text, "operator.example");
            let second = note(&pair.keys[0], &text, "counsel.example");
            first + second.rsplit_once("\n\n").unwrap().1
        }),
        ("two strangers", |_, declaration| {
            let stranger = Pair::of([31, 32]);
            stranger.sign(declaration)
        }),
        (
            "another text under their signatures",
            |pair, declaration| {
                let lesser = Declaration {
                    reason: "something else".into(),
                    ..declaration.clone()
                };
                let signed = pair.sign(&lesser);
                signed.replace(&lesser.text(), &declaration.text())
            },
        ),
    ];
    for (name, sign) in attempts {
        let (mut world, pair) = restored();
        let declaration = world.declaration(5);
        let note = sign(&pair, &declaration);
        let code = says(&mut world, &pair, &declaration, note);
        assert_eq!(code, "declaration", "{name}");
    }
}

#[test]
fn one_key_is_no_two_parties() {
    let key = SigningKey::from_bytes(&[21; 32]);
    let [one, same] = ["operator.example", "counsel.example"].map(|name| vkey(&key, name));
    let other = vkey(&SigningKey::from_bytes(&[22; 32]), "counsel.example");
    assert!(Parties::parse(&format!("operator {one}\ncounsel {other}\n")).is_some());
    assert!(Parties::parse(&format!("operator {one}\ncounsel {same}\n")).is_none());
}

#[test]
fn the_workers_own_key_is_no_party() {
    let (mut world, _) = restored();
    let mut pair = Pair::new();
    pair.keys[1] = world.key.clone();
    pair.parties.counsel = vkey(&world.key, "counsel.example");
    let declaration = world.declaration(5);
    let note = pair.sign(&declaration);
    assert_eq!(says(&mut world, &pair, &declaration, note), "party_signs");
}

#[test]
fn a_declaration_is_of_one_log_one_number_and_one_end() {
    let changes: [(&str, fn(&mut Declaration)); 5] = [
        ("another log", |it| it.log = ORIGIN.replace("8000", "9000")),
        ("the next one", |it| it.incarnation = 3),
        ("an earlier end", |it| it.last.size = 7),
        ("another tree at its end", |it| it.last.root = [9; 32]),
        ("nothing lost", |it| it.kept = it.last),
    ];
    for (name, change) in changes {
        let (mut world, pair) = restored();
        let honest = world.declaration(5);
        let mut declaration = honest.clone();
        change(&mut declaration);
        let note = pair.sign(&declaration);
        let code = says(&mut world, &pair, &honest, note);
        assert_eq!(code, "declaration", "{name}");
    }
}

#[test]
fn a_log_that_was_declared_shorter_is_not_anchored_on_as_it_was() {
    let (mut world, pair) = restored();
    // Two databases: one was restored and declared, the other still runs.
    let mut other = World::new();
    other.grow(10);
    let mut running = worker(&pair);
    other.store = world.store.clone();
    assert_eq!(other.round(&mut running), End::Nothing { size: 10 });
    let declaration = world.declaration(5);
    world.declare(&declaration, pair.sign(&declaration));
    (other.declared, other.former) = (world.declared.clone(), world.former.clone());
    other.store.clear();
    other.grow(1);
    assert_eq!(refusal(other.round(&mut running)).code(), "superseded");
    assert_eq!(
        refusal(other.round(&mut worker(&pair))).code(),
        "superseded"
    );
    assert!(other.store.is_empty() && other.former[&1].keys().eq(&[3, 7, 10]));
    // If it was, in between, the declared one shows it: the declaration names what was last.
    let more = Checkpoint {
        size: 11,
        ..other.checkpoint()
    };
    let note = note(&world.key, &more.text(), ORIGIN);
    world.former.get_mut(&1).unwrap().insert(11, note);
    world.grow(1);
    assert_eq!(
        refusal(world.round(&mut worker(&pair))).code(),
        "declaration"
    );
}

#[test]
fn a_checkpoint_of_one_incarnation_is_none_of_another() {
    let (mut world, pair) = restored();
    let declaration = world.declaration(5);
    world.declare(&declaration, pair.sign(&declaration));
    // Signed by our key, and of a tree that the database's begins with: but not under this name.
    let before = Checkpoint {
        origin: ORIGIN.into(),
        ..world.checkpoint()
    };
    world
        .store
        .insert(5, note(&world.key, &before.text(), ORIGIN));
    world.grow(1);
    assert_eq!(refusal(world.round(&mut worker(&pair))).code(), "misplaced");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn log_after_log_goes_on(restores in proptest::collection::vec((1u8..9, any::<prop::sample::Index>()), 1..6)) {
        let (mut world, pair) = (World::new(), Pair::new());
        world.grow(4);
        let mut known = worker(&pair);
        prop_assert_eq!(anchored(world.round(&mut known)), 4);
        for (number, (rows, place)) in restores.into_iter().enumerate() {
            world.grow(rows);
            let last = anchored(world.round(&mut known));
            let kept = place.index(usize::try_from(last).unwrap()) as u64;
            restore(&mut world, kept);
            let declaration = world.declaration(kept);
            prop_assert_eq!(declaration.incarnation as usize, number + 2);
            world.declare(&declaration, pair.sign(&declaration));
            // A worker that ran meanwhile knows another name, and one that is started believes the whole chain of declarations.
            world.grow(1);
            prop_assert_eq!(refusal(world.round(&mut known)).code(), "another_log");
            known = worker(&pair);
            prop_assert_eq!(anchored(world.round(&mut known)), kept + 1);
        }
    }
}
