//! Instants that a client wrote down, in the form of RFC 3339; and as texts in events.
//!
//! Strict on purpose: a database's own reader takes `now`, `tomorrow` and two dozen date orders, and
//! a claim about when somebody agreed must read the same to everybody.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::instant;

/// Where the letter between date and time stands.
const SEPARATOR: usize = 10;

/// Microseconds since 1970-01-01T00:00:00Z of a date-time of RFC 3339, section 5.6; `None` if it is
/// anything else. Digits beyond microseconds are cut off; a leap second is the end of the one before.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    // The library takes any character between date and time; the grammar has one letter.
    if !matches!(text.as_bytes().get(SEPARATOR), Some(b'T' | b't')) {
        return None;
    }
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(moment.unix_timestamp_nanos().div_euclid(1000)).ok()
}

/// The instant that lies `micros` microseconds after 1970-01-01T00:00:00Z, as a leaf has it.
#[must_use]
pub fn text(micros: i64) -> String {
    let mut out = Vec::with_capacity(27);
    instant::write(&mut out, micros);
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 3339, section 5.8.
    #[test]
    fn rfc_3339_examples() {
        assert_eq!(parse("1985-04-12T23:20:50.52Z"), Some(482_196_050_520_000));
        assert_eq!(
            parse("1996-12-19T16:39:57-08:00"),
            Some(851_042_397_000_000)
        );
        assert_eq!(
            parse("1937-01-01T12:00:27.87+00:20"),
            Some(-1_041_337_172_130_000)
        );
        assert_eq!(parse("1990-12-31T23:59:60Z"), Some(662_687_999_999_999));
    }

    #[test]
    fn nothing_else_is_taken() {
        for text in [
            "",
            "now",
            "tomorrow",
            "infinity",
            "-infinity",
            "epoch",
            "allballs",
            "2026",
            "2026-01-01",
            "2026-01-01 00:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00,5Z",
            "2026-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:00+24:00",
            "2026-01-01T00:00:00+00:60",
            "2026-01-01T00:00:00+0000",
            "2026-01-01T00:00:00 Z",
            " 2026-01-01T00:00:00Z",
            "2026-01-01T00:00:00Z ",
            "+2026-01-01T00:00:00Z",
            "12026-01-01T00:00:00Z",
            "2026-01-01T00:00:00Zulu",
            "２026-01-01T00:00:00Z",
            "2026-01-01T00:00:0\u{661}Z",
            "2026-01-01T-1:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(micros in -62_135_596_800_000_000i64..=253_402_300_799_999_999) {
            prop_assert_eq!(parse(&super::text(micros)), Some(micros));
        }

        #[test]
        fn any_text_is_no_panic(text in ".*") {
            let _ = parse(&text);
        }
    }
}
