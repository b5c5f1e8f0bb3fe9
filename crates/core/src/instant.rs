//! Instants as text: `YYYY-MM-DDTHH:MM:SS.ffffffZ`, always UTC, always six decimals.
//!
//! PostgreSQL's `to_char(t AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')` gives the same.

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Appends the instant that lies `micros` microseconds after 1970-01-01T00:00:00Z.
///
/// Years 1 to 9999 have four digits. Later ones have as many as they need, and years before 1 are
/// astronomical with a minus sign; neither comes out of a working clock.
pub(crate) fn write(out: &mut Vec<u8>, micros: i64) {
    let (year, month, day) = civil(micros.div_euclid(MICROS_PER_DAY));
    let of_day = micros.rem_euclid(MICROS_PER_DAY);
    let seconds = of_day / 1_000_000;
    if year < 0 {
        out.push(b'-');
    }
    digits(out, year.abs(), 4);
    for (separator, value) in [
        (b'-', month),
        (b'-', day),
        (b'T', seconds / 3600),
        (b':', seconds / 60 % 60),
        (b':', seconds % 60),
    ] {
        out.push(separator);
        digits(out, value, 2);
    }
    out.push(b'.');
    digits(out, of_day % 1_000_000, 6);
    out.push(b'Z');
}

/// Appends a number that is not negative, with zeros in front up to `width` (at most 6) digits.
fn digits(out: &mut Vec<u8>, value: i64, width: usize) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(value).as_bytes();
    out.extend(core::iter::repeat_n(b'0', width.saturating_sub(text.len())));
    out.extend_from_slice(text);
}

/// Year, month and day of the proleptic Gregorian calendar, from days since 1970-01-01: the
/// algorithm `civil_from_days` of <https://howardhinnant.github.io/date_algorithms.html>. Years
/// start in March there, so that the leap day is the last of its year.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let (month, next_year) = match march_month {
        0..=9 => (march_month + 3, 0),
        _ => (march_month - 9, 1),
    };
    (year_of_era + era * 400 + next_year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::macros::format_description;

    fn written(micros: i64) -> String {
        let mut out = Vec::new();
        write(&mut out, micros);
        String::from_utf8(out).unwrap()
    }

    fn oracle(micros: i64) -> String {
        let nanos = i128::from(micros) * 1000;
        let format = format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z"
        );
        time::OffsetDateTime::from_unix_timestamp_nanos(nanos)
            .unwrap()
            .format(&format)
            .unwrap()
    }

    #[test]
    fn corners_of_the_calendar() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (951_782_400_000_001, "2000-02-29T00:00:00.000001Z"),
            (4_107_542_399_999_999, "2100-02-28T23:59:59.999999Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
            (-62_135_596_800_000_000, "0001-01-01T00:00:00.000000Z"),
            (-62_135_596_800_000_001, "0000-12-31T23:59:59.999999Z"),
            (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
            (253_402_300_800_000_000, "10000-01-01T00:00:00.000000Z"),
            (-62_167_219_200_000_001, "-0001-12-31T23:59:59.999999Z"),
            (i64::MAX, "294247-01-10T04:00:54.775807Z"),
            (i64::MIN, "-290308-12-21T19:59:05.224192Z"),
        ] {
            assert_eq!(written(micros), text);
        }
    }

    #[test]
    fn every_day_of_eight_centuries() {
        for day in -146_097..2 * 146_097 {
            let micros = day * MICROS_PER_DAY + 43_200_000_000;
            assert_eq!(written(micros), oracle(micros));
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_time_crate(micros in -62_135_596_800_000_000i64..=253_402_300_799_999_999) {
            prop_assert_eq!(written(micros), oracle(micros));
        }
    }
}
