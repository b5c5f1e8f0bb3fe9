use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_security::confusable_detection::skeleton;

use super::*;

/// Where Unicode has letters of the alphabets that the table is of.
const BLOCKS: [core::ops::RangeInclusive<char>; 11] = [
    '\u{80}'..='\u{2AF}',      // Latin, IPA
    '\u{370}'..='\u{58F}',     // Greek, Cyrillic, Armenian
    '\u{13A0}'..='\u{13FF}',   // Cherokee
    '\u{1D00}'..='\u{1DBF}',   // phonetic
    '\u{1E00}'..='\u{1EFF}',   // Latin
    '\u{2C60}'..='\u{2CFF}',   // Latin, Coptic
    '\u{A4D0}'..='\u{A4FF}',   // Lisu
    '\u{A720}'..='\u{A7FF}',   // Latin
    '\u{AB30}'..='\u{ABBF}',   // Latin, Cherokee
    '\u{10780}'..='\u{107BF}', // Latin
    '\u{1DF00}'..='\u{1DFFF}', // Latin
];

/// The ASCII letter that a character's prototype is, without its marks: by the crate `unicode-security`, made from the whole of
/// `confusables.txt` 18.0.
fn prototype(c: char) -> Option<char> {
    let mut letters = skeleton(c.encode_utf8(&mut [0; 4]))
        .filter(|c| !is_combining_mark(*c))
        .collect::<Vec<_>>();
    let letter = letters.pop().filter(char::is_ascii_alphabetic);
    letter.filter(|_| letters.is_empty())
}

/// All that Unicode has something to say about, but for ideographs.
fn characters() -> impl Iterator<Item = char> {
    ('\0'..='\u{1FFFF}').chain('\u{E0000}'..='\u{E0FFF}')
}

fn has_another_form(c: char) -> bool {
    c.nfkd().ne([c])
}

#[test]
fn the_table_is_unicodes() {
    assert_eq!(unicode_security::UNICODE_VERSION, (18, 0, 0));
    let letters = BLOCKS.into_iter().flatten().filter(|c| c.is_alphabetic());
    let letters = letters.filter(|c| !has_another_form(*c) && small_capital(*c).is_none());
    let mut known = 0;
    for c in letters {
        let capital = c.is_uppercase() || matches!(c, '\u{A4D0}'..='\u{A4FF}' | '\u{A7FE}');
        let expected = match prototype(c) {
            Some('l') if capital => Some('I'),
            other => other,
        };
        assert_eq!(
            look_alike(c).map(char::from),
            expected,
            "{c} {}",
            c.escape_unicode()
        );
        known += usize::from(expected.is_some());
    }
    assert!(known > 330, "{known}");
}

/// There is no small X.
#[test]
fn small_capitals_are_capitals() {
    let small = "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘꞯʀꜱᴛᴜᴠᴡʏᴢ".chars();
    let large = ('A'..='Z').filter(|c| *c != 'X');
    for (small, large) in small.zip(large) {
        assert_eq!(look_alike(small).map(char::from), Some(large), "{small}");
    }
}

#[test]
fn white_letters_on_black_are_capitals() {
    let circled = "🅐🅑🅒🅓🅔🅕🅖🅗🅘🅙🅚🅛🅜🅝🅞🅟🅠🅡🅢🅣🅤🅥🅦🅧🅨🅩";
    let squared = "🅰🅱🅲🅳🅴🅵🅶🅷🅸🅹🅺🅻🅼🅽🅾🅿🆀🆁🆂🆃🆄🆅🆆🆇🆈🆉";
    for letters in [circled, squared] {
        let read = letters.chars().map(|c| look_alike(c).map(char::from));
        assert!(read.eq(('A'..='Z').map(Some)));
    }
}

/// Without a look into the tables nothing would be other than it is.
#[test]
fn nothing_far_has_a_latin_form() {
    for c in characters().filter(|c| is_far(*c)) {
        assert_eq!(look_alike(c), None, "{c}");
        assert!(!c.nfkd().any(|part| part.is_ascii_alphanumeric()), "{c}");
    }
    for c in "שعबกგ한ጀᐁខあ漢꒐𠀀ﬡﷺﻼ".chars() {
        assert!(is_far(c), "{c}");
    }
    for c in "aéαжԱᎪᴀẞⓐⲁꓮꜰꭰﬀｚ㎏".chars() {
        assert!(!is_far(c), "{c}");
    }
}

/// A skeleton has no Default_Ignorable_Code_Point of `DerivedCoreProperties.txt`.
#[test]
fn what_shows_nothing_is_what_unicode_ignores() {
    for c in characters() {
        let ignored = skeleton(c.encode_utf8(&mut [0; 4])).next().is_none();
        let control = c.is_control() && !c.is_whitespace();
        assert_eq!(
            is_invisible(c),
            ignored || control,
            "{}",
            c.escape_unicode()
        );
    }
}
