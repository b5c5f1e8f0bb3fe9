//! Texts are whatever somebody wrote. See README.md for the promise.
#![no_main]

use std::sync::LazyLock;

use identity_core::text::{Kind, Matcher, Pattern, is_pattern};
use libfuzzer_sys::fuzz_target;

static MATCHER: LazyLock<Matcher> = LazyLock::new(|| {
    let patterns = [
        (Kind::Word, "nurse"),
        (Kind::Stem, "phlebotom"),
        (Kind::Phrase, "patient care"),
        (Kind::Credential, "RN"),
        (Kind::Credential, "MD"),
    ];
    let patterns = (0..)
        .zip(patterns)
        .map(|(id, (kind, text))| Pattern { id, kind, text });
    Matcher::new(&patterns.collect::<Vec<_>>()).unwrap()
});

fuzz_target!(|input: (u8, &str)| {
    let (number, text) = input;
    let alone = MATCHER.find(text);
    let framed = MATCHER.find(&format!("x; {text} ;x"));
    assert!(alone.iter().all(|id| framed.contains(id)));

    let kind = Kind::ALL[usize::from(number) % Kind::ALL.len()];
    let itself = Matcher::new(&[Pattern { id: 1, kind, text }]);
    assert_eq!(itself.is_some(), is_pattern(kind, text));
    if let Some(matcher) = itself {
        assert_eq!(matcher.find(text), [1]);
    }
});
