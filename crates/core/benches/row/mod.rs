//! The row that both benches measure with.

use identity_core::*;

/// A row as `pii_resolve` of a name leaves it.
pub fn row() -> AccessRow<'static> {
    let mut fields = FieldSet::EMPTY;
    fields.insert(Field::Name);
    AccessRow {
        lane: 3,
        seq: 1_000_000,
        accessed_at: 1_793_534_400_123_456,
        candidate_id: Some([2; 16]),
        accessor_kind: AccessorKind::GatewayLookup,
        accessor_id: "gw_onbox",
        accessor_role: "gw_onbox",
        accessor_outer: "gw_onbox",
        cert_fingerprint: None,
        application_name: Some("pgbench"),
        purpose_token: Some("fill_validation"),
        purpose_version: Some(1),
        fields_accessed: fields,
        phi_fields: FieldSet::EMPTY,
        request_trace_id: Some("0af7651916cd43dd8448eb211c80319c"),
        chain_kind: ChainKind::Hmac,
        is_legal_tier_event: false,
        outcome: Outcome::Committed,
        denial: None,
        repeats: 1,
        consent_status: Some(ConsentStatus::Given),
        vertical: Some(Vertical::General),
        zone: Zone::Onbox,
        generation: Some(0),
        key_version: Some(1),
        chain_version: 1,
        event_digest: None,
    }
}
