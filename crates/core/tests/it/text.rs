//! Which texts speak of healthcare, and which only look as if they did.

use identity_core::text::*;

const PATTERNS: &[(Kind, &str)] = &[
    (Kind::Credential, "RN"),
    (Kind::Credential, "BSN"),
    (Kind::Credential, "MD"),
    (Kind::Word, "nurse"),
    (Kind::Word, "ICU"),
    (Kind::Word, "HIPAA"),
    (Kind::Word, "hospital"),
    (Kind::Stem, "phlebotom"),
    (Kind::Phrase, "patient care"),
    (Kind::Phrase, "Director of Nursing"),
];

pub fn matcher() -> Matcher {
    let patterns = (1..)
        .zip(PATTERNS)
        .map(|(id, (kind, text))| Pattern {
            id,
            kind: *kind,
            text,
        })
        .collect::<Vec<_>>();
    Matcher::new(&patterns).unwrap()
}

/// What was found, by the patterns' own words.
pub fn found(text: &str) -> Vec<&'static str> {
    let ids = matcher().find(text);
    ids.into_iter()
        .map(|id| PATTERNS[id as usize - 1].1)
        .collect()
}

fn all(expected: &str, texts: &[&str]) {
    for text in texts {
        assert_eq!(found(text), [expected], "{text:?}");
    }
}

fn none(texts: &[&str]) {
    for text in texts {
        assert!(found(text).is_empty(), "{text:?} has {:?}", found(text));
    }
}

#[test]
fn words_in_any_case_and_beside_anything() {
    all(
        "nurse",
        &[
            "nurse",
            "NURSE",
            "A Nurse.",
            "nurse's aide",
            "(nurse)",
            "nurse/medic",
            "lead_nurse",
            "nurse\u{2014}nights",
            "«nurse»",
            "1. nurse",
        ],
    );
    all("ICU", &["worked in the icu", "I.C.U. nights", "ICU,CCU"]);
    all("HIPAA", &["HIPAA-compliant", "hipaa", "H.I.P.A.A."]);
}

#[test]
fn words_inside_words_are_none() {
    none(&[
        "nursery school",
        "hospitality",
        "nurses2",
        "ahospital",
        "xnurse",
        "nurse1",
        "ICUs",
        "hospitalx",
    ]);
    none(&[
        "modern URN, return, born, RNase, TRN, RNs",
        "VMDK, AMD, MDX",
        "a URN: urn:isbn:1",
    ]);
}

#[test]
fn stems_begin_words() {
    all("phlebotom", &["Phlebotomist", "phlebotomy", "PHLEBOTOMIES"]);
    none(&["aphlebotomist", "phlebo tomist"]);
}

#[test]
fn phrases_over_any_gap_but_a_sentence() {
    all(
        "patient care",
        &[
            "patient care",
            "Patient  \t Care",
            "patient-care",
            "PATIENT/CARE",
            "patient\ncare",
            "patient\u{A0}care",
            "patient & care",
            "patient, care",
            "patient \u{2022} care",
            "patient...care",
            "\"patient\" care",
            "patient-\ncare",
            // What comes after it makes a full stop no end of a sentence.
            "patient.- care",
            "patient?- care",
            "patient.care",
        ],
    );
    all(
        "Director of Nursing",
        &[
            "director of nursing",
            "Director  of\r\nNursing",
            "Director-of-Nursing",
        ],
    );
    none(&[
        "I am patient. Care to call?",
        "patient! Care",
        "patient.\n\nCare",
        "patients care",
        "patient who care",
        "care patient",
        "patient careful",
        "patient? Care",
        "(be patient.) Care",
    ]);
}

#[test]
fn credentials_are_capitals_or_dotted() {
    all(
        "RN",
        &[
            "Jane Roe, RN",
            "RN",
            "(RN)",
            "RN-CCRN",
            "Jane Roe RN.",
            "R.N.",
            "r.n.",
            "R.N",
            "Jane Roe, R.N., nights",
            "RN/LPN",
            "RN\u{200B}",
            "R.\u{200B}N.",
            "R.N.1",
            // A number behind it is a licence.
            "RN 20850",
            "RN, DC",
        ],
    );
    all("BSN", &["BSN", "B.S.N.", "RHIA;BSN"]);
    none(&[
        "rn",
        "Rn",
        "rN",
        "bsn",
        "R N",
        "R-N",
        "R..N",
        "R-.N",
        "R.-N",
        "R.\nN.",
        "R. N. Smith",
        "J.R.N. Smith",
        "U.R.N.",
        "R.N.A.",
        "R.Nothing",
    ]);
}

#[test]
fn md_is_a_doctor_behind_a_name() {
    all(
        "MD",
        &[
            "Jane Roe, MD",
            "Jane Roe MD",
            "Jane Roe, M.D.",
            "Jane Roe,M.D.,",
            "m.d.",
            "MD",
            "Baltimore, M.D.",
            "Roe, MD, FACS",
            "MD, MS",
            "MD/PhD",
            "Jane Roe, MD, PA",
            "Jane Arnold, MD",
            "Kevin Clinton MD",
            "Jane Laurel, MD",
            "JANE ROE, MD",
            "MD 1234567",
            "MD since 2004",
            "Jane Roe, MD\nBaltimore",
        ],
    );
    assert_eq!(found("Jane Roe, MD, RN"), ["RN", "MD"]);
}

#[test]
fn md_is_a_state_in_an_address() {
    none(&[
        "Baltimore, MD 21201",
        "Silver Spring MD",
        "MD 20850",
        "Silver Spring, MD",
        "BALTIMORE MD",
        "baltimore, MD",
        "Baltimore , MD",
        "Nowhere Falls, MD 21099-1234",
        "MD-20850",
        "Bethesda\nMD",
        "Montgomery County, MD",
        "MD 355",
        "on MD-97 north",
        "MD Route 5",
        "DC, MD, VA",
        "VA/MD/DC",
        "DC/MD",
        "based in MD",
        "moved from MD",
        "Maryland (MD)",
        "Smallplace, MD, USA",
        "12 Main St, Arnold, MD",
        "12 Main St. Arnold, MD",
        "12 Main St \nArnold, MD",
        "12 Main St- Arnold, MD",
        "Arnold, MD",
        "office: Laurel, MD",
        "Glen Burnie MD and Bowie MD",
        "Havre de Grace, MD",
        "md",
        "Md",
        "Upper Marlboro, MD",
        "lives at Columbia, MD",
        "Balti\u{301}more, ＭＤ 21201",
    ]);
}

#[test]
fn line_breakers_do_not_hide_a_word() {
    all(
        "nurse",
        &[
            "regis\u{AD}tered nur-\nse",
            "nur-\r\n   se",
            "nur\u{2010}\nse",
            "nur\u{AD}\nse",
            "n\u{AD}urse",
            "NUR-\nSE",
        ],
    );
    all("phlebotom", &["phlebo-\ntomist"]);
    none(&[
        "nur - se",
        "nur -\nse",
        "nur--\nse",
        "nur-se",
        "nur\nse",
        "nur\n-se",
        "nur.\nse",
        "nur.-\nse",
        "nur\u{200B}\nse",
    ]);
}

#[test]
fn ordinary_resumes_are_not_healthcare() {
    none(&[
        "",
        " ",
        "...",
        "Senior Rust engineer. Led a modern data platform; reduced churn. Return on investment up 4 %.",
        "Hospitality manager, Ocean City, MD 21842. Patient with guests. Care for detail.",
        "Line cook, nursery volunteer, M.Sc., B.Sc., Ph.D. (URN tooling)",
        "Электрик, 12 лет",
        "护士",
        "\u{1F600}",
    ]);
}

#[test]
fn what_can_be_a_pattern() {
    for (kind, text) in PATTERNS {
        assert!(is_pattern(*kind, text), "{text}");
    }
    for (kind, text) in [
        (Kind::Word, "two words"),
        (Kind::Word, "x"),
        (Kind::Word, ""),
        (Kind::Word, "..."),
        (Kind::Word, "42"),
        (Kind::Word, "врачи"),
        (Kind::Word, "护士"),
        (Kind::Word, "a*b"),
        (Kind::Stem, "nur"),
        (Kind::Stem, "a b"),
        (Kind::Phrase, "nurse"),
        (Kind::Phrase, "a b c d e f g h i"),
        (Kind::Phrase, "end. Begin"),
        (Kind::Credential, "rn"),
        (Kind::Credential, "R.N."),
        (Kind::Credential, "R"),
        (Kind::Credential, "ABCDEFGHI"),
        (Kind::Credential, "RN "),
        (Kind::Credential, "R2"),
        (Kind::Word, &"x".repeat(101)),
    ] {
        assert!(!is_pattern(kind, text), "{kind:?} {text:?}");
        assert!(Matcher::new(&[Pattern { id: 1, kind, text }]).is_none());
    }
    assert!(is_pattern(Kind::Word, "x-\u{AD}") == is_pattern(Kind::Word, "x"));
    assert!(is_pattern(Kind::Stem, "nurs") && !is_pattern(Kind::Stem, "nur"));
    assert!(is_pattern(Kind::Word, "médico") && is_pattern(Kind::Word, &"x".repeat(100)));
    for source in ["resume", "call_log", "a", "a1_", &"a".repeat(32)] {
        assert!(is_source(source), "{source}");
    }
    for source in [
        "",
        "Resume",
        "call log",
        "1a",
        "_a",
        "a-b",
        "a.b",
        "jane@example.org",
        "é",
        &"a".repeat(33),
    ] {
        assert!(!is_source(source), "{source}");
    }
}

#[test]
fn ids_are_reported_once_in_order_whatever_they_are() {
    let pattern = |id, text| Pattern {
        id,
        kind: Kind::Word,
        text,
    };
    let two = Matcher::new(&[
        pattern(9, "nurse"),
        pattern(-3, "NURSE"),
        pattern(9, "clinic"),
    ])
    .unwrap();
    assert_eq!(two.find("clinic nurse nurse"), [-3, 9]);
    assert!(Matcher::new(&[]).unwrap().find("nurse").is_empty());
    let many = |count| {
        (0..count)
            .map(|id| pattern(id, "nurse"))
            .collect::<Vec<_>>()
    };
    assert_eq!(Matcher::new(&many(2000)).unwrap().find("nurse").len(), 2000);
    assert!(Matcher::new(&many(2001)).is_none());
}
