//! The leaf is RFC 8785, says what the row says, and says it in one way only.

use identity_core::*;
use serde_json::Value;

use crate::support::{bare_row, canonical, fields, parsed};

fn full_row() -> AccessRow<'static> {
    AccessRow {
        candidate_id: Some(*b"0123456789abcdef"),
        cert_fingerprint: Some([0xab; 32]),
        application_name: Some("psql"),
        purpose_token: Some("fill_validation"),
        purpose_version: Some(2),
        fields_accessed: fields(&["ssn", "name", "address"]),
        phi_fields: fields(&["ssn"]),
        request_trace_id: Some("t-1"),
        denial: Some(Reason::PhiAccess),
        consent_status: Some(ConsentStatus::Given),
        vertical: Some(Vertical::Healthcare),
        generation: Some(5),
        key_version: Some(6),
        event_digest: Some([0x01; 32]),
        ..bare_row()
    }
}

#[test]
fn keys_are_in_canonical_order() {
    for row in [bare_row(), full_row()] {
        assert_eq!(row.leaf(), canonical(&row.leaf()));
    }
    assert_eq!(parsed(&full_row()).len(), 29);
    assert_eq!(parsed(&bare_row()).len(), 29 - 12);
}

#[test]
fn absent_columns_are_omitted_and_none_is_null() {
    let leaf = parsed(&bare_row());
    for column in [
        "candidate_id",
        "cert_fingerprint",
        "application_name",
        "purpose_token",
        "purpose_version",
        "request_trace_id",
        "denial",
        "consent_status",
        "vertical",
        "generation",
        "key_version",
        "event_digest",
    ] {
        assert!(!leaf.contains_key(column), "{column}");
        assert!(parsed(&full_row()).contains_key(column), "{column}");
    }
    assert!(!leaf.contains_key("integrity_hash"));
    assert_eq!(leaf["fields_accessed"], Value::Array(vec![]));
}

#[test]
fn ids_put_the_lane_above_the_seq() {
    assert_eq!(access_id(0, 1), 1);
    assert_eq!(access_id(1, 0), 1 << 48);
    assert_eq!(access_id(5, 7), (5 << 48) + 7);
    assert_eq!(access_id(MAX_LANE, MAX_SEQ), i64::MAX);
    // Beyond the limit ids repeat, but never fall back into a lower lane.
    assert_eq!(access_id(1, MAX_SEQ + 1), 1 << 48);
    assert_eq!(
        AccessRow {
            lane: 5,
            seq: 7,
            ..bare_row()
        }
        .access_id(),
        (5 << 48) + 7
    );
}

/// Every change of one column changes the leaf: nothing in a row can be altered behind the MAC.
#[test]
fn every_column_is_bound() {
    let base = full_row();
    let changed = [
        AccessRow {
            lane: 4,
            ..base.clone()
        },
        AccessRow {
            seq: 2,
            ..base.clone()
        },
        AccessRow {
            accessed_at: base.accessed_at + 1,
            ..base.clone()
        },
        AccessRow {
            candidate_id: Some([0; 16]),
            ..base.clone()
        },
        AccessRow {
            accessor_kind: AccessorKind::Register,
            ..base.clone()
        },
        AccessRow {
            accessor_id: "other",
            ..base.clone()
        },
        AccessRow {
            accessor_role: "other",
            ..base.clone()
        },
        AccessRow {
            accessor_outer: "other",
            ..base.clone()
        },
        AccessRow {
            cert_fingerprint: None,
            ..base.clone()
        },
        AccessRow {
            application_name: Some(""),
            ..base.clone()
        },
        AccessRow {
            purpose_token: Some("other"),
            ..base.clone()
        },
        AccessRow {
            purpose_version: Some(1),
            ..base.clone()
        },
        AccessRow {
            fields_accessed: fields(&["name"]),
            ..base.clone()
        },
        AccessRow {
            phi_fields: FieldSet::EMPTY,
            ..base.clone()
        },
        AccessRow {
            request_trace_id: None,
            ..base.clone()
        },
        AccessRow {
            chain_kind: ChainKind::Merkle,
            ..base.clone()
        },
        AccessRow {
            is_legal_tier_event: true,
            ..base.clone()
        },
        AccessRow {
            outcome: Outcome::Denied,
            ..base.clone()
        },
        AccessRow {
            denial: Some(Reason::Consent),
            ..base.clone()
        },
        AccessRow {
            repeats: 2,
            ..base.clone()
        },
        AccessRow {
            consent_status: Some(ConsentStatus::Expired),
            ..base.clone()
        },
        AccessRow {
            vertical: Some(Vertical::Unknown),
            ..base.clone()
        },
        AccessRow {
            zone: Zone::Cloud,
            ..base.clone()
        },
        AccessRow {
            generation: Some(6),
            ..base.clone()
        },
        AccessRow {
            key_version: Some(5),
            ..base.clone()
        },
        AccessRow {
            chain_version: 2,
            ..base.clone()
        },
        AccessRow {
            event_digest: Some([2; 32]),
            ..base.clone()
        },
    ];
    let mut leaves: Vec<_> = changed.iter().map(AccessRow::leaf).collect();
    leaves.push(base.leaf());
    leaves.sort();
    leaves.dedup();
    assert_eq!(leaves.len(), 28);
}

#[test]
fn a_leaf_is_allocated_once() {
    let row = full_row();
    let longest = AccessRow {
        accessor_kind: AccessorKind::SettingsChange,
        outcome: Outcome::RolledBack,
        denial: Some(Reason::PreparedTransaction),
        consent_status: Some(ConsentStatus::PendingBackfillReview),
        accessed_at: i64::MIN,
        generation: Some(i32::MIN),
        key_version: Some(i32::MIN),
        chain_version: i32::MIN,
        purpose_version: Some(i32::MIN),
        repeats: u32::MAX,
        lane: MAX_LANE,
        seq: MAX_SEQ,
        fields_accessed: FieldSet::from_bits(63).unwrap(),
        phi_fields: FieldSet::from_bits(63).unwrap(),
        ..row.clone()
    };
    assert_eq!(row.leaf().capacity(), longest.leaf().capacity());
    let texts = "gw_onbox".len() * 3 + "psql".len() + "fill_validation".len() + "t-1".len();
    assert_eq!(longest.leaf().capacity(), 1280 + texts);
}
