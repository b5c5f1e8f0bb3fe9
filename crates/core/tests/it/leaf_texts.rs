//! Whatever texts a client chooses, the leaf stays canonical and gives them back.

use identity_core::*;
use proptest::prelude::*;

use crate::support::{bare_row, canonical, hex, parsed};

proptest! {
    #[test]
    fn any_text_stays_canonical_and_comes_back(
        id: String, role: String, outer: String, name: Option<String>, token: Option<String>,
        candidate: Option<[u8; 16]>, digest: Option<[u8; 32]>,
        version: Option<i32>, repeats: u32, seq in 1..MAX_SEQ, lane in 0..MAX_LANE,
        bits in 0u8..64,
    ) {
        let row = AccessRow {
            lane,
            seq,
            accessor_id: &id,
            accessor_role: &role,
            accessor_outer: &outer,
            application_name: name.as_deref(),
            purpose_token: token.as_deref(),
            candidate_id: candidate,
            event_digest: digest,
            purpose_version: version,
            repeats,
            fields_accessed: FieldSet::from_bits(bits).unwrap(),
            ..bare_row()
        };
        let leaf = row.leaf();
        prop_assert_eq!(String::from_utf8(canonical(&leaf)), String::from_utf8(leaf));
        let back = parsed(&row);
        let text = |column: &str| back.get(column).map(|v| v.as_str().unwrap().to_owned());
        prop_assert_eq!(text("accessor_id"), Some(id.clone()));
        prop_assert_eq!(text("accessor_role"), Some(role.clone()));
        prop_assert_eq!(text("accessor_outer"), Some(outer.clone()));
        prop_assert_eq!(text("application_name"), name.clone());
        prop_assert_eq!(text("purpose_token"), token.clone());
        prop_assert_eq!(text("purpose_version"), version.map(|v| v.to_string()));
        prop_assert_eq!(text("repeats"), Some(repeats.to_string()));
        prop_assert_eq!(text("access_id"), Some((i64::from(lane) * (1 << 48) + seq as i64).to_string()));
        prop_assert_eq!(text("candidate_id").map(|v| v.replace('-', "")), candidate.map(|v| hex(&v)));
        prop_assert_eq!(text("event_digest"), digest.map(|v| hex(&v)));
    }
}
