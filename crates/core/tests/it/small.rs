//! Digests, ids and the shape of texts.

use identity_core::*;
use proptest::prelude::*;

use crate::support::INSTALLATION;

#[test]
fn parts_of_a_digest_cannot_be_shifted() {
    assert_ne!(cert_fingerprint("ab", "c"), cert_fingerprint("a", "bc"));
    let of = |kind, pairs: &[(&str, &str)]| event_digest(&INSTALLATION, kind, pairs);
    assert_ne!(of("ab", &[]), of("a", &[]));
    assert_ne!(of("a", &[("k", "v")]), of("a", &[("kv", "")]));
    assert_ne!(of("a", &[("k", "v")]), of("a", &[("v", "k")]));
    assert_ne!(of("a", &[]), event_digest(&[0; 16], "a", &[]));
    assert_eq!(
        of("a", &[("x", "1"), ("y", "2")]),
        of("a", &[("y", "2"), ("x", "1")])
    );
}

#[test]
fn development_keys_differ_by_kind() {
    assert_ne!(
        *development_key(KeyKind::Dek),
        *development_key(KeyKind::Chain)
    );
}

#[test]
fn check_values_differ_by_kind_version_and_key() {
    let values = [
        check_value(KeyKind::Dek, 1, &[1; 32]),
        check_value(KeyKind::Chain, 1, &[1; 32]),
        check_value(KeyKind::Dek, 2, &[1; 32]),
        check_value(KeyKind::Dek, 1, &[2; 32]),
    ];
    let distinct: std::collections::HashSet<_> = values.into_iter().collect();
    assert_eq!(distinct.len(), 4);
}

#[test]
fn a_key_is_told_by_its_check_value_and_no_other() {
    let expected = check_value(KeyKind::Dek, 1, &[1; 32]);
    assert!(is_key(KeyKind::Dek, 1, &[1; 32], &expected));
    assert!(!is_key(KeyKind::Chain, 1, &[1; 32], &expected));
    assert!(!is_key(KeyKind::Dek, 2, &[1; 32], &expected));
    assert!(!is_key(KeyKind::Dek, 1, &[2; 32], &expected));
    for wrong in [&expected[..31], &[]] {
        assert!(!is_key(KeyKind::Dek, 1, &[1; 32], wrong));
    }
}

/// Against a plain list: the decision tests rely on these sets.
#[test]
fn consent_sets_hold_what_was_put_in() {
    for bits in 0..32u8 {
        let chosen = |status: ConsentStatus| bits >> status as u8 & 1 == 1;
        let mut set = ConsentSet::EMPTY;
        for status in ConsentStatus::ALL.iter().filter(|status| chosen(**status)) {
            assert!(set.insert(*status));
            assert!(!set.insert(*status));
        }
        for status in ConsentStatus::ALL {
            assert_eq!(set.contains(*status), chosen(*status));
        }
    }
}

#[test]
fn trace_ids() {
    for good in ["a", "Z9_.:-", &"x".repeat(64)] {
        assert!(is_trace_id(good), "{good}");
    }
    for bad in [
        "",
        " ",
        "a b",
        "é",
        "a\n",
        "a/b",
        "a@b",
        "\0",
        &"x".repeat(65),
    ] {
        assert!(!is_trace_id(bad), "{bad:?}");
    }
}

#[test]
fn purpose_tokens() {
    for good in ["a", "fill_validation", "a.b-c_9", &"x".repeat(64)] {
        assert!(is_purpose_token(good), "{good}");
    }
    let long = "x".repeat(65);
    for bad in [
        "", "A", "9a", "_a", "-a", ".a", "aB", "a b", "a:b", "aé", "éa", "a\n", &long,
    ] {
        assert!(!is_purpose_token(bad), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn ids_are_version_7_ordered_by_time(ms in 0u64..1 << 48, random: [u8; 10]) {
        let id = candidate_id(ms, &random);
        prop_assert_eq!(id[6] >> 4, 7);
        prop_assert_eq!(id[8] >> 6, 2);
        prop_assert_eq!(&id[..6], &ms.to_be_bytes()[2..]);
        prop_assert_eq!(&id[9..], &random[3..]);
        prop_assert!(ms == 0 || candidate_id(ms - 1, &[0xff; 10]) < id);
    }

    #[test]
    fn any_character_is_judged_alone(c: char) {
        let allowed = c.is_ascii_alphanumeric() || "_.:-".contains(c);
        prop_assert_eq!(is_trace_id(&c.to_string()), allowed);
        let lower = c.is_ascii_lowercase() || c.is_ascii_digit() || "_.-".contains(c);
        prop_assert_eq!(is_purpose_token(&format!("a{c}")), lower);
        prop_assert_eq!(is_purpose_token(&c.to_string()), c.is_ascii_lowercase());
    }
}
