//! Times as people write them: `90s`, `10m`, `24h`, `30d`, `7y`.

use std::time::Duration;

use serde::de::{Deserializer, Error, Visitor};

/// Reads one.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    struct Text;
    impl Visitor<'_> for Text {
        type Value = Duration;

        fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            out.write_str(EXPECTED)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
            parse(text).ok_or_else(|| E::custom(format_args!("this is not {EXPECTED}")))
        }
    }
    from.deserialize_str(Text)
}

const EXPECTED: &str = "a time: a whole number and a unit, one of s, m, h, d, y, as in \"10m\"";

fn parse(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "y" => 365 * 86_400,
        _ => return None,
    };
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u32 = number.parse().ok()?;
    // A century is enough for everything, and every sum of times stays far from overflow.
    let duration = Duration::from_secs(u64::from(number).checked_mul(seconds)?);
    (duration <= Duration::from_secs(100 * 365 * 86_400)).then_some(duration)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn times_are_a_number_and_a_unit() {
        let seconds = |text| parse(text).map(|time| time.as_secs());
        assert_eq!(
            ["90s", "10m", "1h", "2d", "7y"].map(seconds),
            [
                Some(90),
                Some(600),
                Some(3600),
                Some(172_800),
                Some(220_752_000)
            ]
        );
        for text in [
            "",
            "s",
            "10",
            "10 m",
            "+10m",
            "-1s",
            "1.5h",
            "10min",
            "101y",
            "99999999999s",
            "１０m",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
