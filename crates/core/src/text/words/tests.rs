use unicode_normalization::UnicodeNormalization;

use super::*;

fn read(text: &str, breaks: Breaks) -> String {
    let words = Words::read(text, breaks);
    String::from_utf8(words.haystack().to_vec()).unwrap()
}

#[test]
fn a_text_is_its_words_with_blanks_around_each() {
    for (text, apart) in [
        ("", " "),
        ("...", " "),
        ("Nurse", " nurse "),
        ("  Nurse,\tRN\n", " nurse rn "),
        ("CT2 42x", " ct2 42x "),
        // Sentences: not after an initial, an abbreviation, or the last word.
        ("Is patient. Care", " is patient . care "),
        ("Patient! Care? No", " patient . care . no "),
        ("patient.Care", " patient care "),
        ("patient.\nCare", " patient . care "),
        ("J. Roe", " j roe "),
        ("U.S. Army", " us army "),
        ("Dr. Roe.", " dr . roe "),
        // Initials
        ("R.N.", " rn "),
        ("r.N., B.S.N.", " rn bsn "),
        ("R.N.1", " rn 1 "),
        ("1.R.N", " 1 rn "),
        ("R.No", " r no "),
        ("Roe.N.", " roe n "),
        // Marks and what shows nothing are nothing; a run of letters that no pattern has is one star.
        ("nu\u{301}r\u{200B}se", " nurse "),
        ("\u{488}n\u{1DC4}u\u{20DD}rse", " nurse "),
        ("\u{645}\u{650}\u{645}", " * "),
        ("врачи", " *pa* "),
        ("护士 nurse护", " * nurse* "),
        ("护nurse", " *nurse "),
        // Compatibility forms: many letters from one character, none from another.
        ("ﬁre ㎏ ⒩urse", " fire kg n urse "),
        ("\u{FDFA} \u{AC00}", " * * "),
        ("cut-\nting", " cut ting "),
    ] {
        assert_eq!(read(text, Breaks::Apart), apart, "{text:?}");
    }
}

#[test]
fn a_hyphen_at_the_end_of_a_line_breaks_one_word() {
    for (text, joined) in [
        ("cut-\nting", " cutting "),
        ("cut\u{2010}\r\n  ting", " cutting "),
        ("cut\u{2011}\u{2028}ting", " cutting "),
        ("cut\u{AD}\nting", " cutting "),
        ("cut-\n\u{AD}\n ting-\ntool", " cuttingtool "),
    ] {
        assert_eq!(read(text, Breaks::Joined), joined, "{text:?}");
        assert!(Words::read(text, Breaks::Apart).broken, "{text:?}");
    }
    for text in [
        "cut-ting",
        "cut\nting",
        "cut -\nting",
        "cut\n-ting",
        "cut--\nting",
        "cut.-\nting",
        "cut-.\nting",
        "cut-,\nting",
        "cut,-\nting",
        "cut-\n(ting",
        "cut\u{AD} ting",
        "cut\u{200B}\nting",
        "cu\u{AD}t\nting",
        "-\ncutting",
        "cutting-\n",
    ] {
        let words = Words::read(text, Breaks::Joined);
        assert!(!words.broken, "{text:?}");
        assert_eq!(read(text, Breaks::Joined), read(text, Breaks::Apart));
    }
}

/// What its pattern may ask of a word.
fn traits(text: &str) -> String {
    let words = Words::read(text, Breaks::Apart);
    let (_, word) = words.get(words.words.len() - 1).unwrap();
    let said = [
        (word.upper, "upper"),
        (word.capital, "capital"),
        (word.dotted, "dotted"),
        (word.spaced, "spaced"),
    ];
    let said = said.into_iter().filter_map(|(is, name)| is.then_some(name));
    said.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_word_knows_its_capitals_and_what_stands_before_it() {
    for (text, expected) in [
        ("rn", ""),
        ("Rn", "capital"),
        ("rN", ""),
        ("RN", "upper capital"),
        ("R2", "capital"),
        ("RNé", "capital"),
        ("ΡΝ", "upper capital"),
        ("ꓣꓠ", "upper capital"),
        ("ʀɴ", "upper capital"),
        ("ⓇⓃ", "upper capital"),
        ("🅡🅽", "upper capital"),
        ("ГД", "upper capital"),
        ("护士", ""),
        ("R.N.", "upper capital dotted"),
        ("r.n.", "dotted"),
        ("R.n.", "capital dotted"),
        ("r.N.", "dotted"),
        ("Jane Roe", "capital spaced"),
        ("Jane\t\u{3000}Roe", "capital spaced"),
        ("Jane\nRoe", "capital"),
        ("Jane \nRoe", "capital"),
        ("Jane, Roe", "capital"),
        ("J. Roe", "capital"),
        ("Jane- Roe", "capital"),
        ("Jane-Roe", "capital"),
        ("(Roe", "capital"),
        (" Roe", "capital spaced"),
    ] {
        assert_eq!(traits(text), expected, "{text:?}");
    }
}

#[test]
fn words_are_found_by_place_and_number() {
    let words = Words::read("Glen Burnie, MD", Breaks::Apart);
    assert_eq!(words.at(1), Some(0));
    assert_eq!(words.at(6), Some(1));
    assert_eq!(words.at(13), Some(2));
    for between in [0, 2, 5, 12, 14, usize::MAX] {
        assert_eq!(words.at(between), None);
    }
    assert_eq!(words.get(1).unwrap().0, b"burnie");
    assert!(words.get(3).is_none());
    assert_eq!(words.between(0, 2), b"glen burnie");
    assert_eq!(words.between(1, 2), b"burnie");
    for (first, end) in [(0, 3), (3, 4), (2, 1), (1, 1)] {
        assert_eq!(words.between(first, end), b"");
    }
}

/// Else a copy of somebody's text would stay where the buffer was.
#[test]
fn the_buffer_never_moves() {
    let longest = ('\0'..='\u{1FFFF}').filter(|c| c.nfkd().count() > 1);
    for c in longest.chain("aA1. -\n护\u{AD}".chars()) {
        for unit in [
            format!("{c}"),
            format!("{c} "),
            format!("{c}-"),
            format!("{c}. "),
            format!("a{c}. "),
        ] {
            let text = unit.repeat(20);
            let words = Words::read(&text, Breaks::Apart);
            assert_eq!(words.buffer.capacity(), 2 * text.len() + 16, "{unit:?}");
        }
    }
}

/// What [`is_mark`] knows without looking it up is what the table says.
#[test]
fn marks_are_unicodes() {
    for c in ('\0'..='\u{1FFFF}').chain('\u{E0000}'..='\u{E0FFF}') {
        assert_eq!(is_mark(c), is_combining_mark(c), "{}", c.escape_unicode());
    }
}
