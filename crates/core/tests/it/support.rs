//! What several tests need: hex, one of everything, and a log with its key.

use std::sync::LazyLock;

use identity_core::note::VerifierKey;
use identity_core::*;
use serde_json::{Map, Value};

use crate::log::{ORIGIN, Signer};

pub const INSTALLATION: [u8; 16] = *b"an installation.";
pub const CANDIDATE: [u8; 16] = *b"a candidate id..";

pub fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2));
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

pub fn unhex_array<const N: usize>(text: &str) -> [u8; N] {
    unhex(text).try_into().unwrap()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn context(field: Field) -> FieldContext<'static> {
    FieldContext {
        installation: &INSTALLATION,
        candidate: &CANDIDATE,
        field,
        erasure_generation: 0,
    }
}

/// A row with every optional column absent.
pub fn bare_row() -> AccessRow<'static> {
    AccessRow {
        lane: 3,
        seq: 1,
        accessed_at: 1_793_534_400_123_456,
        candidate_id: None,
        accessor_kind: AccessorKind::GatewayLookup,
        accessor_id: "gw_onbox",
        accessor_role: "gw_onbox",
        accessor_outer: "gw_onbox",
        cert_fingerprint: None,
        application_name: None,
        purpose_token: None,
        purpose_version: None,
        fields_accessed: FieldSet::EMPTY,
        phi_fields: FieldSet::EMPTY,
        request_trace_id: None,
        chain_kind: ChainKind::Hmac,
        is_legal_tier_event: false,
        outcome: Outcome::Committed,
        denial: None,
        repeats: 1,
        consent_status: None,
        vertical: None,
        zone: Zone::Onbox,
        generation: None,
        key_version: None,
        chain_version: 1,
        event_digest: None,
    }
}

pub fn fields(names: &[&str]) -> FieldSet {
    let mut set = FieldSet::EMPTY;
    for name in names {
        assert!(set.insert(Field::parse(name).unwrap()));
    }
    set
}

pub fn parsed(row: &AccessRow<'_>) -> Map<String, Value> {
    serde_json::from_slice(&row.leaf()).unwrap()
}

/// What an independent RFC 8785 canonicalizer makes of a leaf.
pub fn canonical(leaf: &[u8]) -> Vec<u8> {
    let value: Value = serde_json::from_slice(leaf).unwrap();
    serde_json_canonicalizer::to_vec(&value).unwrap()
}

pub fn log() -> &'static Signer {
    static LOG: LazyLock<Signer> = LazyLock::new(|| Signer::new(ORIGIN, 1));
    &LOG
}

/// Of that log alone.
pub fn keys() -> &'static [VerifierKey] {
    core::slice::from_ref(&log().vkey)
}

/// The bytes with each one of their bits changed in turn.
pub fn bit_flips(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len() * 8).map(|at| {
        let mut changed = bytes.to_vec();
        changed[at / 8] ^= 1 << (at % 8);
        changed
    })
}
