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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    #[serde(rename = "schema")]
    _schema: ProofSchema,
    pub access_id: Decimal<i64>,
    pub leaf_hash: Hex<32>,
    pub salt: Hex<16>,
    #[serde(default, deserialize_with = "present")]
    pub batch: Option<Batch>,
    pub proof: String,
}

#[derive(Deserialize)]
enum ProofSchema {
    #[serde(rename = "identity_pgx/proof/v1")]
    V1,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    pub index: Decimal<u64>,
    pub rows: Decimal<u64>,
    pub path: Vec<Hex<32>>,
    pub seal_leaf: String,
}

/// From one size of the tree to a later one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    pub old: Decimal<u64>,
    pub new: Decimal<u64>,
    pub path: Vec<Hex<32>>,
}

/// A member that may be absent, and is not null if it is there.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// A number as its decimal digits in a string, without zeros in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String", bound = "T: std::str::FromStr + ToString")]
pub struct Decimal<T>(pub T);

impl<T: std::str::FromStr + ToString> TryFrom<String> for Decimal<T> {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let number = text.parse::<T>().ok().filter(|number| number.to_string() == text);
        number.map(Self).ok_or("not a decimal number")
    }
}

/// Bytes as lower-case hex in a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Hex<const N: usize>(pub [u8; N]);

impl<const N: usize> TryFrom<String> for Hex<N> {
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
        let bytes = bytes.filter(|_| rest.is_empty()).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or("not lower-case hex of the right length")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Result<Decimal<u64>, &'static str> {
        text.to_owned().try_into()
    }

    #[test]
    fn a_number_has_one_form() {
        assert_eq!(decimal("0"), Ok(Decimal(0)));
        assert_eq!(decimal("18446744073709551615"), Ok(Decimal(u64::MAX)));
        for text in ["", "007", "+1", "-1", "-0", " 1", "1 ", "1.0", "1e3", "18446744073709551616", "٣"] {
            assert!(decimal(text).is_err(), "{text}");
        }
        assert_eq!(Decimal::<i64>::try_from("-1".to_owned()), Ok(Decimal(-1)));
    }

    #[test]
    fn bytes_have_one_form() {
        assert_eq!(Hex::<2>::try_from("00ff".to_owned()), Ok(Hex([0, 255])));
        for text in ["", "00", "00FF", "00f", "00fff", "00ffff", "0x00", "00g0", "ＦＦ"] {
            assert!(Hex::<2>::try_from(text.to_owned()).is_err(), "{text}");
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
            let hash = "00".repeat(32);
            let salt = "00".repeat(16);
            serde_json::from_str::<Proof>(&format!(
                r#"{{"schema":"identity_pgx/proof/v1","access_id":"1","leaf_hash":"{hash}","salt":"{salt}"{batch},"proof":""}}"#
            ))
        };
        assert!(proof("").is_ok());
        assert!(proof(r#","batch":{"index":"0","rows":"1","path":[],"seal_leaf":""}"#).is_ok());
        assert!(proof(r#","batch":null"#).is_err());
        assert!(proof(r#","batch":{"index":0,"rows":"1","path":[],"seal_leaf":""}"#).is_err());
    }
}
