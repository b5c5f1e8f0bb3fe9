//! Texts that try not to be found, or to make the search slow.

use identity_core::text::*;
use proptest::prelude::*;
use second_opinion::skeleton_letter;

use crate::text::{found, matcher};

/// A second opinion about look-alikes: the crate `unicode-security`, made from the whole of `confusables.txt`.
mod second_opinion {
    use unicode_normalization::char::is_combining_mark;
    use unicode_security::confusable_detection::skeleton;

    /// The ASCII letter that a character's skeleton is, without its marks.
    pub fn skeleton_letter(c: char) -> Option<char> {
        let mut letters = skeleton(c.encode_utf8(&mut [0; 4]))
            .filter(|c| !is_combining_mark(*c))
            .collect::<Vec<_>>();
        let letter = letters.pop().filter(|c| c.is_ascii_alphabetic());
        letter.filter(|_| letters.is_empty())
    }
}

#[test]
fn other_alphabets_do_not_hide_a_word() {
    for text in [
        "nurѕе",
        "ոսrse",
        "ｎｕｒｓｅ",
        "ＮＵＲＳＥ",
        "𝐧𝐮𝐫𝐬𝐞",
        "𝓃𝓊𝓇𝓈ℯ",
        "ⓝⓤⓡⓢⓔ",
        "n\u{200B}u\u{200D}r\u{2060}s\u{FEFF}e",
        "n\u{AD}urse",
        "nürsé",
        "n\u{301}u\u{308}r\u{336}s\u{336}e\u{20DD}",
        "ɴᴜʀꜱᴇ",
        "n\u{202E}urse\u{202C}",
        "nurse\u{E0041}",
        "n\u{1}urse",
        "\u{FEFF}nurse",
        "nυrse",
        "nur\u{17F}e",
        "🄽🅄🅁🅂🄴",
        "🅝🅤🅡🅢🅔",
        "🅽🆄🆁🆂🅴",
        "nuꭇsꬲ",
        "ꓠꓴꓣꓢꓰ",
        "ηυгѕе",
    ] {
        assert_eq!(found(text), ["nurse"], "{text:?}");
    }
    for text in [
        "ＲＮ",
        "𝐑𝐍",
        "RΝ",
        "ʀɴ",
        "Ｒ．Ｎ．",
        "R\u{200B}N",
        "R\u{2024}N\u{2024}",
        "R\u{B7}N",
        "Ⓡ.Ⓝ.",
        "ꓣꓠ",
        "🅡🅝",
    ] {
        assert_eq!(found(text), ["RN"], "{text:?}");
    }
    for text in ["НІРАА", "ΗΙΡΑΑ", "hірaa", "НӀРАА", "ꓧꓲꓑꓮꓮ", "HꞮPAA"]
    {
        assert_eq!(found(text), ["HIPAA"], "{text:?}");
    }
    assert_eq!(found("раtіеnt\u{3000}ｃａｒｅ"), ["patient care"]);
    assert_eq!(found("ΜD"), ["MD"]);
    // Units are one character of two letters.
    let clinic = Pattern {
        id: 1,
        kind: Kind::Word,
        text: "clinic",
    };
    let clinic = Matcher::new(&[clinic]).unwrap();
    assert_eq!(clinic.find("the cl\u{33CC}ic"), [1]);
    assert!(found("Ваltimore, МD 21201").is_empty());
}

#[test]
fn every_look_alike_is_unicodes() {
    let mut known = 0;
    for c in ('\u{80}'..='\u{FFFF}').filter(|c| c.is_alphabetic()) {
        let Some(letter) = skeleton_letter(c) else {
            continue;
        };
        // l stands for I as well in the source.
        let letters = if letter == 'l' {
            vec!['l', 'i']
        } else {
            vec![letter.to_ascii_lowercase()]
        };
        for letter in letters {
            let needle = letter.to_string().repeat(5);
            let pattern = Pattern {
                id: 1,
                kind: Kind::Word,
                text: &needle,
            };
            known += Matcher::new(&[pattern])
                .unwrap()
                .find(&c.to_string().repeat(5))
                .len();
        }
    }
    // The blocks that are not in the table are of scripts that nobody would take for Latin at a glance.
    assert!(known > 450, "{known}");
}

/// Nothing that the table folds is folded to another letter than the source says.
#[test]
fn no_look_alike_is_ours_alone() {
    let alphabet = ('a'..='z')
        .map(|letter| letter.to_string().repeat(4))
        .collect::<Vec<_>>();
    let patterns = (0..)
        .zip(&alphabet)
        .map(|(id, text)| Pattern {
            id,
            kind: Kind::Word,
            text,
        })
        .collect::<Vec<_>>();
    let letters = Matcher::new(&patterns).unwrap();
    let small_capitals = "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘꞯʀꜱᴛᴜᴠᴡʏᴢ";
    for block in [
        '\u{250}'..='\u{58F}',
        '\u{13A0}'..='\u{13FF}',
        '\u{2C60}'..='\u{2CFF}',
        '\u{A4D0}'..='\u{A7FF}',
        '\u{AB70}'..='\u{ABBF}',
    ] {
        for c in block.filter(|c| c.is_alphabetic() && !small_capitals.contains(*c)) {
            for id in letters.find(&c.to_string().repeat(4)) {
                let ours = char::from(b'a' + u8::try_from(id).unwrap());
                let theirs = [c, c.to_lowercase().next().unwrap()]
                    .map(|c| skeleton_letter(c).map(|c| c.to_ascii_lowercase()));
                let agreed =
                    theirs.contains(&Some(ours)) || (ours == 'i' && theirs.contains(&Some('l')));
                let decomposed = !c.is_ascii() && unicode_decomposes(c);
                assert!(agreed || decomposed, "{c:?} is {ours}, not {theirs:?}");
            }
        }
    }
}

fn unicode_decomposes(c: char) -> bool {
    use unicode_normalization::UnicodeNormalization;
    c.to_string().nfkd().any(|part| part != c)
}

#[test]
fn a_long_text_of_anything_is_searched_in_full() {
    let matcher = matcher();
    for filler in [
        "a",
        " ",
        ".",
        "MD ",
        "R.",
        "-\n",
        "é",
        "\u{FDFA}",
        "\u{301}",
        "\u{200B}",
        "patient ",
        "护",
        "\u{1F12F}\u{1F110}",
        ". ",
        "a-\n",
        "Silver Spring MD ",
    ] {
        let mut text = filler.repeat((MAX_TEXT_BYTES / 8) / filler.len());
        assert!(!matcher.find(&text).contains(&4), "{filler:?}");
        text.push_str(" ,; nurse");
        assert!(matcher.find(&text).contains(&4), "{filler:?}");
        assert!(
            matcher.find(&format!("nurse , {text}")).contains(&4),
            "{filler:?}"
        );
    }
}

#[test]
fn the_longest_text_is_searched_to_its_end() {
    assert_eq!(MAX_TEXT_BYTES, 1_048_576);
    let end = "R.N. or nurse";
    let text = " ".repeat(MAX_TEXT_BYTES - end.len()) + end;
    assert_eq!(found(&text), ["RN", "nurse"]);
}

fn noise() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![
            any::<char>(),
            prop::sample::select(
                " .,-\n\u{AD}\u{200B}\u{301}RNMDrnmd1"
                    .chars()
                    .collect::<Vec<_>>()
            )
        ],
        0..60,
    )
    .prop_map(|chars| chars.into_iter().collect())
}

/// Letters as they might be disguised; each still reads as itself.
fn disguised(word: &'static str) -> impl Strategy<Value = String> {
    let each = word.chars().map(|c| {
        let fullwidth = char::from_u32(c as u32 - 0x21 + 0xFF01).unwrap();
        let bold = char::from_u32(c as u32 - u32::from('a') + 0x1D41A).unwrap();
        let forms = vec![
            c.to_string(),
            c.to_ascii_uppercase().to_string(),
            fullwidth.to_string(),
            bold.to_string(),
            format!("{c}\u{301}"),
            format!("\u{200B}{c}"),
            format!("{c}\u{AD}"),
        ];
        prop::sample::select(forms)
    });
    each.collect::<Vec<_>>()
        .prop_map(|letters| letters.concat())
}

proptest! {
    #[test]
    fn no_text_panics_or_depends_on_what_is_beside(text in noise()) {
        let alone = found(&text);
        let framed = found(&format!("x; {text} ;x"));
        for pattern in &alone {
            prop_assert!(framed.contains(pattern), "{pattern} is lost in a frame");
        }
    }

    #[test]
    fn disguise_does_not_help(nurse in disguised("nurse"), before in "[a-z ]{0,20}", after in "[a-z ]{0,20}") {
        let text = format!("{before}, {nurse}, {after}");
        prop_assert!(found(&text).contains(&"nurse"));
    }

    #[test]
    fn letters_beside_make_another_word(before in "[a-z0-9]{0,3}", after in "[a-z0-9]{0,3}") {
        let whole = before.is_empty() && after.is_empty();
        prop_assert_eq!(found(&format!("{before}nurse{after}")).contains(&"nurse"), whole);
        prop_assert_eq!(found(&format!("{}RN{}", before.to_uppercase(), after.to_uppercase())).contains(&"RN"), whole);
    }

    #[test]
    fn zip_codes_make_a_state(zip in "[0-9]{5}(-[0-9]{4})?", name in "[A-Z][a-z]{2,8}", gap in "[ ,\n]{1,3}") {
        let text = format!("{name}, MD{gap}{zip}");
        prop_assert!(found(&text).is_empty(), "{}", text);
        let text = format!("{name}, M.D.{gap}{zip}");
        prop_assert_eq!(found(&text), ["MD"]);
    }

    #[test]
    fn more_text_never_hides_a_word(text in noise(), more in noise()) {
        if found(&text).contains(&"nurse") {
            let longer = format!("{text} {more}");
            prop_assert!(found(&longer).contains(&"nurse"));
        }
    }
}

proptest! {
    #[test]
    fn every_pattern_is_found_in_its_own_text(text in prop_oneof![noise(), "[a-zA-Z]{2,8}", "[a-z]{2,6}[ -][a-z]{2,6}"], number in 0..4u8) {
        let kind = Kind::from_u8(number).unwrap();
        let pattern = Pattern { id: 1, kind, text: &text };
        match Matcher::new(&[pattern]) {
            Some(matcher) => prop_assert_eq!(matcher.find(&text), [1]),
            None => prop_assert!(!is_pattern(kind, &text)),
        }
    }
}
