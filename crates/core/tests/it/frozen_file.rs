//! The shape of `tests/vectors/frozen.json`.

use identity_core::*;
use serde::Deserialize;

use crate::support::{fields, unhex_array};

#[derive(Deserialize)]
pub struct Frozen {
    pub keys: Vec<Key>,
    pub genesis: Vec<Genesis>,
    pub envelopes: Vec<Envelope>,
    pub classifications: Vec<Envelope>,
    pub refused: Vec<Envelope>,
    pub leaves: Vec<Leaf>,
    pub chains: Vec<Chain>,
    pub events: Vec<Event>,
    pub evidence: Vec<Evidence>,
    pub subjects: Vec<Subject>,
    pub certificates: Vec<Certificate>,
    pub candidates: Vec<Candidate>,
}

#[derive(Deserialize)]
pub struct Key {
    pub kind: String,
    pub version: u32,
    pub key: String,
    pub development: bool,
    pub check_value: String,
}

#[derive(Deserialize)]
pub struct Genesis {
    pub installation: String,
    pub lane: u32,
    pub mac: String,
}

#[derive(Deserialize)]
pub struct Envelope {
    pub key: String,
    pub key_version: u32,
    pub message_id: String,
    pub installation: String,
    pub candidate: String,
    pub field: String,
    pub erasure_generation: u32,
    pub value: String,
    pub envelope: String,
}

#[derive(Deserialize)]
pub struct Leaf {
    pub row: Row,
    pub leaf: String,
}

#[derive(Deserialize)]
pub struct Row {
    pub lane: u32,
    pub seq: u64,
    pub accessed_at: i64,
    pub candidate_id: Option<String>,
    pub accessor_kind: String,
    pub accessor_id: String,
    pub accessor_role: String,
    pub accessor_outer: String,
    pub cert_fingerprint: Option<String>,
    pub application_name: Option<String>,
    pub purpose_token: Option<String>,
    pub purpose_version: Option<i32>,
    pub fields_accessed: Vec<String>,
    pub phi_fields: Vec<String>,
    pub request_trace_id: Option<String>,
    pub chain_kind: String,
    pub is_legal_tier_event: bool,
    pub outcome: String,
    pub denial: Option<String>,
    pub repeats: u32,
    pub consent_status: Option<String>,
    pub vertical: Option<String>,
    pub zone: String,
    pub generation: Option<i32>,
    pub key_version: Option<i32>,
    pub chain_version: i32,
    pub event_digest: Option<String>,
}

#[derive(Deserialize)]
pub struct Chain {
    pub installation: String,
    pub lane: u32,
    pub key: String,
    pub key_version: u32,
    pub rows: Vec<ChainRow>,
}

#[derive(Deserialize)]
pub struct ChainRow {
    pub seq: u64,
    pub leaf: String,
    pub mac: String,
}

#[derive(Deserialize)]
pub struct Event {
    pub installation: String,
    pub kind: String,
    pub pairs: Vec<(String, String)>,
    pub digest: String,
}

#[derive(Deserialize)]
pub struct Evidence {
    pub salt: String,
    pub text: String,
    pub digest: String,
}

#[derive(Deserialize)]
pub struct Subject {
    pub installation: String,
    pub candidate: String,
    pub digest: String,
}

#[derive(Deserialize)]
pub struct Certificate {
    pub issuer: String,
    pub serial: String,
    pub fingerprint: String,
}

#[derive(Deserialize)]
pub struct Candidate {
    pub unix_ms: u64,
    pub random: String,
    pub id: String,
}

pub fn frozen() -> Frozen {
    serde_json::from_str(include_str!("../vectors/frozen.json")).unwrap()
}

fn names(list: &[String]) -> FieldSet {
    fields(&list.iter().map(String::as_str).collect::<Vec<_>>())
}

impl Envelope {
    pub fn context<'a>(
        &self,
        installation: &'a [u8; 16],
        candidate: &'a [u8; 16],
    ) -> FieldContext<'a> {
        FieldContext {
            installation,
            candidate,
            field: Field::parse(&self.field).unwrap(),
            erasure_generation: self.erasure_generation,
        }
    }
}

impl Row {
    pub fn access_row(&self) -> AccessRow<'_> {
        let uuid = |id: &String| unhex_array(&id.replace('-', ""));
        AccessRow {
            lane: self.lane,
            seq: self.seq,
            accessed_at: self.accessed_at,
            candidate_id: self.candidate_id.as_ref().map(uuid),
            accessor_kind: AccessorKind::parse(&self.accessor_kind).unwrap(),
            accessor_id: &self.accessor_id,
            accessor_role: &self.accessor_role,
            accessor_outer: &self.accessor_outer,
            cert_fingerprint: self.cert_fingerprint.as_deref().map(unhex_array),
            application_name: self.application_name.as_deref(),
            purpose_token: self.purpose_token.as_deref(),
            purpose_version: self.purpose_version,
            fields_accessed: names(&self.fields_accessed),
            phi_fields: names(&self.phi_fields),
            request_trace_id: self.request_trace_id.as_deref(),
            chain_kind: ChainKind::parse(&self.chain_kind).unwrap(),
            is_legal_tier_event: self.is_legal_tier_event,
            outcome: Outcome::parse(&self.outcome).unwrap(),
            denial: self.denial.as_deref().map(|d| Reason::parse(d).unwrap()),
            repeats: self.repeats,
            consent_status: self
                .consent_status
                .as_deref()
                .map(|c| ConsentStatus::parse(c).unwrap()),
            vertical: self
                .vertical
                .as_deref()
                .map(|v| Vertical::parse(v).unwrap()),
            zone: Zone::parse(&self.zone).unwrap(),
            generation: self.generation,
            key_version: self.key_version,
            chain_version: self.chain_version,
            event_digest: self.event_digest.as_deref().map(unhex_array),
        }
    }
}
