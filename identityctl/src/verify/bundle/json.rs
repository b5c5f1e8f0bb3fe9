//! The JSON of a bundle, as `docs/spec/bundle.md` has it: nothing missing, nothing more, numbers and bytes in the one form they are written in.

use serde::{Deserialize, Deserializer};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    #[serde(rename = "schema")]
    _schema: BundleSchema,
    pub rows: Vec<Row>,
    #[serde(default)]
    pub checkpoints: Vec<String>,
    #[serde(default)]
    pub consistency: Vec<Link>,
}

impl Bundle {
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.checkpoints.is_empty() && self.consistency.is_empty()
    }
}

#[derive(Deserialize)]
enum BundleSchema {
    #[serde(rename = "identity_pgx/bundle/v1")]
    V1,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    pub leaf: String,
    pub proof: Proof,
}

/// The members of a proof, whose forms the core knows.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    pub schema: String,
    pub access_id: String,
    pub leaf_hash: String,
    pub salt: String,
    #[serde(default, deserialize_with = "present")]
    pub batch: Option<Batch>,
    pub proof: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    pub index: String,
    pub rows: String,
    pub path: Vec<String>,
    pub seal_leaf: String,
}

/// From one size of the tree to a later one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    pub old: Decimal,
    pub new: Decimal,
    pub path: Vec<Hash>,
}

/// A member that may be absent, and is not null if it is there.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// A number as its decimal digits in a string, without zeros in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Decimal(pub u64);

impl TryFrom<String> for Decimal {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let number = text
            .parse::<u64>()
            .ok()
            .filter(|number| number.to_string() == text);
        number.map(Self).ok_or("not a decimal number")
    }
}

/// A SHA-256 as lower-case hex in a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Hash(pub [u8; 32]);

impl TryFrom<String> for Hash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let nibble = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        let byte = |[high, low]: &[u8; 2]| Some(nibble(*high)? << 4 | nibble(*low)?);
        let bytes = pairs.iter().map(byte).collect::<Option<Vec<_>>>();
        let bytes = bytes
            .filter(|_| rest.is_empty())
            .and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or("not the hex of a hash")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Result<Decimal, &'static str> {
        text.to_owned().try_into()
    }

    #[test]
    fn a_number_has_one_form() {
        assert_eq!(decimal("0"), Ok(Decimal(0)));
        assert_eq!(decimal("18446744073709551615"), Ok(Decimal(u64::MAX)));
        for text in [
            "",
            "007",
            "+1",
            "-1",
            "-0",
            " 1",
            "1 ",
            "1.0",
            "1e3",
            "18446744073709551616",
            "٣",
        ] {
            assert!(decimal(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_hash_has_one_form() {
        let good = "0123456789abcdef".repeat(4);
        let hash = Hash::try_from(good.clone()).unwrap();
        assert_eq!(hash.0.first_chunk(), Some(&[0x01, 0x23, 0x45, 0x67]));
        for text in [
            "",
            "0",
            &good[1..],
            &good[2..],
            &format!("{good}0"),
            &format!("{good}00"),
            &good.to_uppercase(),
            &good.replace('a', "g"),
            &good.replace("ab", "é"),
        ] {
            assert!(Hash::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_missing_and_nothing_more() {
        let good = r#"{"schema":"identity_pgx/bundle/v1","rows":[]}"#;
        assert!(serde_json::from_str::<Bundle>(good).is_ok());
        for text in [
            "",
            "null",
            "[]",
            r#"{"rows":[]}"#,
            r#"{"schema":"identity_pgx/bundle/v1"}"#,
            r#"{"schema":"identity_pgx/bundle/v2","rows":[]}"#,
            r#"{"schema":"identity_pgx/bundle/v1","rows":[],"more":1}"#,
            r#"{"schema":"identity_pgx/bundle/v1","rows":[],"rows":[]}"#,
            r#"{"schema":"identity_pgx/bundle/v1","rows":[],"checkpoints":null}"#,
            r#"{"schema":"identity_pgx/bundle/v1","rows":[]} x"#,
        ] {
            assert!(serde_json::from_str::<Bundle>(text).is_err(), "{text}");
        }
        let proof = |batch: &str| {
            serde_json::from_str::<Proof>(&format!(
                r#"{{"schema":"","access_id":"","leaf_hash":"","salt":""{batch},"proof":""}}"#
            ))
        };
        assert!(proof("").is_ok());
        assert!(proof(r#","batch":{"index":"","rows":"","path":[],"seal_leaf":""}"#).is_ok());
        assert!(proof(r#","batch":null"#).is_err());
        assert!(proof(r#","batch":{"index":0,"rows":"","path":[],"seal_leaf":""}"#).is_err());
    }
}
