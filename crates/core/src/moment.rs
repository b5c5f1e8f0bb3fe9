//! Instants that a client wrote down, in the form of RFC 3339; and as texts in events.
//!
//! Strict on purpose: a database's own reader takes `now`, `tomorrow` and two dozen date orders, and
//! a claim about when somebody agreed must read the same to everybody.

use crate::instant::{self, MICROS_PER_DAY, days_from_civil};

/// Microseconds since 1970-01-01T00:00:00Z of a date-time of RFC 3339, section 5.6; `None` if it is
/// anything else. Digits beyond microseconds are cut off; a leap second is not taken.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let (date, rest) = text.as_bytes().split_at_checked(10)?;
    let (clock, rest) = rest.split_at_checked(9)?;
    let [y1, y2, y3, y4, b'-', mo1, mo2, b'-', d1, d2] = date else {
        return None;
    };
    let [b'T' | b't', h1, h2, b':', mi1, mi2, b':', s1, s2] = clock else {
        return None;
    };
    let year = number(&[*y1, *y2, *y3, *y4])?;
    let month = within(number(&[*mo1, *mo2])?, 1, 12)?;
    let day = within(number(&[*d1, *d2])?, 1, days_of(year, month))?;
    let hour = within(number(&[*h1, *h2])?, 0, 23)?;
    let minute = within(number(&[*mi1, *mi2])?, 0, 59)?;
    let second = within(number(&[*s1, *s2])?, 0, 59)?;
    let (fraction, zone) = fraction(rest)?;
    let seconds = hour * 3600 + (minute - offset(zone)?) * 60 + second;
    Some(days_from_civil(year, month, day) * MICROS_PER_DAY + seconds * 1_000_000 + fraction)
}

/// The instant that lies `micros` microseconds after 1970-01-01T00:00:00Z, as a leaf has it.
#[must_use]
pub fn text(micros: i64) -> String {
    let mut out = Vec::with_capacity(27);
    instant::write(&mut out, micros);
    String::from_utf8(out).unwrap_or_default()
}

/// Microseconds from `.` and one to nine digits, or nothing; and what comes after.
fn fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some(after) = rest.strip_prefix(b".") else {
        return Some((0, rest));
    };
    let length = after
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if !(1..=9).contains(&length) {
        return None;
    }
    let (digits, zone) = after.split_at_checked(length)?;
    let six = digits.iter().chain(b"000000").take(6).copied();
    Some((number(&six.collect::<Vec<_>>())?, zone))
}

/// Minutes east of UTC, from `Z` or `+hh:mm`.
fn offset(zone: &[u8]) -> Option<i64> {
    match zone {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let hours = within(number(&[*h1, *h2])?, 0, 23)?;
            let minutes = hours * 60 + within(number(&[*m1, *m2])?, 0, 59)?;
            Some(if *sign == b'+' { minutes } else { -minutes })
        }
        _ => None,
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |value, byte| {
        byte.is_ascii_digit()
            .then(|| value * 10 + i64::from(byte - b'0'))
    })
}

fn within(value: i64, least: i64, most: i64) -> Option<i64> {
    (least..=most).contains(&value).then_some(value)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::format_description::well_known::Rfc3339;

    fn oracle(text: &str) -> Option<i64> {
        let moment = time::OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(moment.unix_timestamp_nanos().div_euclid(1000)).ok()
    }

    /// RFC 3339, section 5.8, but for its leap seconds.
    #[test]
    fn rfc_3339_examples() {
        assert_eq!(parse("1985-04-12T23:20:50.52Z"), Some(482_196_050_520_000));
        assert_eq!(
            parse("1996-12-19T16:39:57-08:00"),
            Some(851_042_397_000_000)
        );
        assert_eq!(
            parse("1937-01-01T12:00:27.87+00:20"),
            oracle("1937-01-01T12:00:27.87+00:20")
        );
        assert_eq!(parse("1990-12-31T23:59:60Z"), None);
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
            "2026-01-01T00:00:00.1234567890Z",
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
        fn agrees_with_the_time_crate(
            (year, month, day) in (1i64..=9999, 1i64..=12, 1i64..=31), (hour, minute, second) in (0i64..24, 0i64..60, 0i64..60),
            fraction in "(\\.[0-9]{1,9})?", zone in "Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9]",
        ) {
            let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}");
            prop_assert_eq!(parse(&text), oracle(&text));
        }

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
