//! What is recorded of a call, in a bounded form that fits shared memory: the same two values make the row of a committed read in
//! its own transaction and, through the recorder's queue, the row of a rolled-back or refused one.

use identity_core::field::FieldSet;
use identity_core::leaf::AccessRow;
use identity_core::reason::Reason;
use identity_core::vocabulary::{AccessorKind, ChainKind, ConsentStatus, Outcome, Vertical, Zone};

use crate::event::hex;

/// A short text in place: at most N bytes, N ≤ 255. Longer input is cut at a character boundary.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Short<const N: usize> {
    len: u8,
    bytes: [u8; N],
}

impl<const N: usize> Short<N> {
    pub const EMPTY: Self = Self {
        len: 0,
        bytes: [0; N],
    };

    pub fn new(text: &str) -> Self {
        let mut end = text.len().min(N).min(255);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut short = Self::EMPTY;
        for (to, from) in short.bytes.iter_mut().zip(text.as_bytes().iter().take(end)) {
            *to = *from;
        }
        short.len = u8::try_from(end).unwrap_or(0);
        short
    }

    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    pub fn present(&self) -> Option<&str> {
        Some(self.as_str()).filter(|text| !text.is_empty())
    }
}

/// What all reads of one call share: who asked, for what, under which purpose.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// The session user's oid: quotas and coalescing key on it.
    pub session: u32,
    pub kind: AccessorKind,
    pub zone: Zone,
    pub fields: FieldSet,
    pub role: Short<64>,
    pub outer: Short<64>,
    pub application: Short<64>,
    pub purpose: Short<64>,
    pub purpose_version: Option<i32>,
    pub trace: Short<64>,
    pub certificate: Option<[u8; 32]>,
}

/// What concerns one subject of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Microseconds since the Unix epoch, from the wall clock at the moment of the read.
    pub at: i64,
    pub candidate: Option<[u8; 16]>,
    pub generation: Option<i32>,
    pub key_version: Option<i32>,
    pub consent: Option<ConsentStatus>,
    pub vertical: Option<Vertical>,
    pub phi: FieldSet,
}

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    pub outcome: Outcome,
    pub denial: Option<Reason>,
    pub repeats: u32,
    pub chain_kind: ChainKind,
    pub event_digest: Option<[u8; 32]>,
}

/// One subject of a batch.
#[derive(Clone, Copy)]
pub struct Line {
    pub entry: Entry,
    pub fate: Fate,
    /// The fields of this subject, which in a batch of registrations differ.
    pub fields: FieldSet,
}

impl Shape {
    /// The same caller and refusal without what a hostile client varies freely: what refusals coalesce to when there are many.
    pub fn coarse(&self) -> Self {
        Self {
            application: Short::EMPTY,
            trace: Short::EMPTY,
            fields: FieldSet::EMPTY,
            ..*self
        }
    }

    /// Role, and the certificate where there is one: never a token, never an address.
    pub fn accessor_id(&self) -> String {
        match &self.certificate {
            None => self.role.as_str().to_owned(),
            Some(fingerprint) => {
                format!("{}+cert:{}", self.role.as_str(), hex(fingerprint))
            }
        }
    }
}

impl Entry {
    /// An entry of now that names no subject.
    pub fn now() -> Self {
        Self {
            at: crate::clock::now_unix_micros(),
            candidate: None,
            generation: None,
            key_version: None,
            consent: None,
            vertical: None,
            phi: FieldSet::EMPTY,
        }
    }
}

impl Fate {
    pub const READ: Self = Self {
        outcome: Outcome::Committed,
        denial: None,
        repeats: 1,
        chain_kind: ChainKind::Hmac,
        event_digest: None,
    };
    pub const ROLLED_BACK: Self = Self {
        outcome: Outcome::RolledBack,
        ..Self::READ
    };

    pub fn denied(reason: Reason, repeats: u32) -> Self {
        Self {
            outcome: Outcome::Denied,
            denial: Some(reason),
            repeats,
            ..Self::READ
        }
    }

    pub fn event(digest: [u8; 32]) -> Self {
        Self {
            chain_kind: ChainKind::Merkle,
            event_digest: Some(digest),
            ..Self::READ
        }
    }
}

/// The row that shape, entry and fate make at a place of a lane.
pub fn row<'a>(
    shape: &'a Shape,
    entry: &Entry,
    fate: &Fate,
    accessor_id: &'a str,
    lane: u32,
    seq: u64,
    chain_version: i32,
) -> AccessRow<'a> {
    AccessRow {
        lane,
        seq,
        accessed_at: entry.at,
        candidate_id: entry.candidate,
        accessor_kind: shape.kind,
        accessor_id,
        accessor_role: shape.role.as_str(),
        accessor_outer: shape.outer.as_str(),
        cert_fingerprint: shape.certificate,
        application_name: shape.application.present(),
        purpose_token: shape.purpose.present(),
        purpose_version: shape.purpose_version,
        fields_accessed: shape.fields,
        phi_fields: entry.phi,
        request_trace_id: shape.trace.present(),
        chain_kind: fate.chain_kind,
        is_legal_tier_event: false,
        outcome: fate.outcome,
        denial: fate.denial,
        repeats: fate.repeats,
        consent_status: entry.consent,
        vertical: entry.vertical,
        zone: shape.zone,
        generation: entry.generation,
        key_version: entry.key_version,
        chain_version,
        event_digest: fate.event_digest,
    }
}
