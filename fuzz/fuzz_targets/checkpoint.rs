//! Checkpoints are read before anybody's signature is. See README.md for the promise.
#![no_main]

use identity_core::Checkpoint;
use identity_core::note::NoteError;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    origin: &'a str,
    size: u64,
    root: [u8; 32],
    extensions: Vec<&'a str>,
    at: u16,
    with: u8,
}

fuzz_target!(|input: Input<'_>| {
    for text in [input.origin.to_owned(), format!("o\n{}\n", input.origin)] {
        if let Some(checkpoint) = Checkpoint::parse(&text) {
            assert_eq!(checkpoint.text(), text);
        }
        assert!(Checkpoint::open(&text, &[]).is_err());
    }

    let checkpoint = Checkpoint {
        origin: input.origin.to_owned(),
        size: input.size,
        root: input.root,
        extensions: input.extensions.into_iter().map(str::to_owned).collect(),
    };
    let text = checkpoint.text();
    let Some(read) = Checkpoint::parse(&text) else {
        let control = |line: &String| line.is_empty() || line.bytes().any(|byte| byte < b' ');
        let lines = [&checkpoint.origin]
            .into_iter()
            .chain(&checkpoint.extensions);
        assert!(lines.into_iter().any(control) || text.len() > 1 << 17);
        return;
    };
    assert_eq!(read.text(), text);
    assert_eq!(Checkpoint::open(&text, &[]), Err(NoteError::NotSigned));

    let mut damaged = text.clone().into_bytes();
    let at = usize::from(input.at) % damaged.len();
    damaged[at] ^= input.with;
    if let Ok(damaged) = String::from_utf8(damaged)
        && let Some(other) = Checkpoint::parse(&damaged)
    {
        assert_eq!(other.text(), damaged);
        assert_eq!(other == read, damaged == text);
    }
});
