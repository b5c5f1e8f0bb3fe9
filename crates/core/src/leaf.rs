//! The canonical bytes of one row of `identity.pii_access_log`. Specified in `docs/spec/leaf.md`.
//!
//! An RFC 8785 object whose keys are the column names: an auditor rebuilds it in plain SQL. It holds
//! ids, words, numbers, times and digests, never a value of a field.

use crate::field::FieldSet;
use crate::instant;
use crate::json::Object;
use crate::reason::Reason;
use crate::vocabulary::{AccessorKind, ChainKind, ConsentStatus, Outcome, Vertical, Zone};

/// Value of the member `schema`: names the format of the leaf and its version.
pub const SCHEMA: &str = "identity_pgx/access/v1";

/// Highest lane whose `access_id` is not negative.
pub const MAX_LANE: u32 = (1 << 15) - 1;

/// Highest sequence number that fits beside the lane in an `access_id`.
pub const MAX_SEQ: u64 = (1 << SEQ_BITS) - 1;

const SEQ_BITS: u32 = 48;

/// Room for every member with fixed-size values; texts come on top.
const LEAF_BYTES: usize = 1280;

/// One access row, but for its MAC. `None` is SQL NULL, and absent from the leaf.
///
/// The field names are the column names; `access_id` is computed from lane and seq.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRow<'a> {
    /// Backend slot whose chain the row belongs to, 0 to [`MAX_LANE`].
    pub lane: u32,
    /// Position in the lane, from 1 without gaps, at most [`MAX_SEQ`].
    pub seq: u64,
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub accessed_at: i64,
    /// Subject, raw bytes of the UUID.
    pub candidate_id: Option<[u8; 16]>,
    /// What was done.
    pub accessor_kind: AccessorKind,
    /// Role, with `+cert:<hex>` where there is a client certificate.
    pub accessor_id: &'a str,
    /// Session user.
    pub accessor_role: &'a str,
    /// Outer user: whom SET ROLE made it.
    pub accessor_outer: &'a str,
    /// [`crate::cert_fingerprint`] of the client certificate.
    pub cert_fingerprint: Option<[u8; 32]>,
    /// Declared by the client: untrusted.
    pub application_name: Option<&'a str>,
    /// The purpose; `None` too when the token given is unknown.
    pub purpose_token: Option<&'a str>,
    /// Its active version.
    pub purpose_version: Option<i32>,
    /// Fields asked for.
    pub fields_accessed: FieldSet,
    /// Those of them that were disclosed as protected health information.
    pub phi_fields: FieldSet,
    /// The caller's trace id, of the shape [`crate::is_trace_id`] accepts.
    pub request_trace_id: Option<&'a str>,
    /// How the row enters the sealed ledger.
    pub chain_kind: ChainKind,
    /// Whether the legal tier was used.
    pub is_legal_tier_event: bool,
    /// How the call ended.
    pub outcome: Outcome,
    /// Why it was refused.
    pub denial: Option<Reason>,
    /// How many identical refusals the row stands for; 1 for any other row.
    pub repeats: u32,
    /// The subject's consent at that moment.
    pub consent_status: Option<ConsentStatus>,
    /// The subject's vertical at that moment.
    pub vertical: Option<Vertical>,
    /// The caller's zone.
    pub zone: Zone,
    /// The subject's generation.
    pub generation: Option<i32>,
    /// Version of the DEK that was used.
    pub key_version: Option<i32>,
    /// Version of the chain key that makes the MAC.
    pub chain_version: i32,
    /// [`crate::event_digest`] of what happened, for rows that record an event.
    pub event_digest: Option<[u8; 32]>,
}

impl AccessRow<'_> {
    /// The row's id: [`access_id`] of its lane and seq.
    #[must_use]
    pub fn access_id(&self) -> i64 {
        access_id(self.lane, self.seq)
    }

    /// The leaf: UTF-8, RFC 8785, no trailing newline.
    #[must_use]
    pub fn leaf(&self) -> Vec<u8> {
        // Keys stand here in canonical order; `keys_are_in_canonical_order` tests it.
        let mut leaf = Object::with_capacity(LEAF_BYTES + self.text_bytes());
        leaf.integer("access_id", self.access_id());
        leaf.quoted("accessed_at", |out| instant::write(out, self.accessed_at));
        leaf.text("accessor_id", self.accessor_id);
        leaf.word("accessor_kind", self.accessor_kind.as_str());
        leaf.text("accessor_outer", self.accessor_outer);
        leaf.text("accessor_role", self.accessor_role);
        if let Some(name) = self.application_name {
            leaf.text("application_name", name);
        }
        if let Some(id) = &self.candidate_id {
            leaf.uuid("candidate_id", id);
        }
        if let Some(digest) = &self.cert_fingerprint {
            leaf.hex("cert_fingerprint", digest);
        }
        leaf.word("chain_kind", self.chain_kind.as_str());
        leaf.integer("chain_version", self.chain_version);
        if let Some(status) = self.consent_status {
            leaf.word("consent_status", status.as_str());
        }
        if let Some(reason) = self.denial {
            leaf.word("denial", reason.code());
        }
        if let Some(digest) = &self.event_digest {
            leaf.hex("event_digest", digest);
        }
        leaf.words(
            "fields_accessed",
            self.fields_accessed.iter().map(|f| f.name()),
        );
        if let Some(generation) = self.generation {
            leaf.integer("generation", generation);
        }
        let legal = if self.is_legal_tier_event {
            "true"
        } else {
            "false"
        };
        leaf.word("is_legal_tier_event", legal);
        if let Some(version) = self.key_version {
            leaf.integer("key_version", version);
        }
        leaf.integer("lane", self.lane);
        leaf.word("outcome", self.outcome.as_str());
        leaf.words("phi_fields", self.phi_fields.iter().map(|f| f.name()));
        if let Some(token) = self.purpose_token {
            leaf.text("purpose_token", token);
        }
        if let Some(version) = self.purpose_version {
            leaf.integer("purpose_version", version);
        }
        leaf.integer("repeats", self.repeats);
        if let Some(trace) = self.request_trace_id {
            leaf.text("request_trace_id", trace);
        }
        leaf.word("schema", SCHEMA);
        leaf.integer("seq", self.seq);
        if let Some(vertical) = self.vertical {
            leaf.word("vertical", vertical.as_str());
        }
        leaf.word("zone", self.zone.as_str());
        leaf.finish()
    }

    /// Bytes of the free texts, so that the buffer is allocated once unless many need escaping.
    fn text_bytes(&self) -> usize {
        let optional = [
            self.application_name,
            self.purpose_token,
            self.request_trace_id,
        ];
        [self.accessor_id, self.accessor_role, self.accessor_outer]
            .into_iter()
            .chain(optional.into_iter().flatten())
            .map(str::len)
            .sum()
    }
}

/// `lane << 48 | seq`: unique over all lanes, and increasing within one.
///
/// The caller keeps to [`MAX_LANE`] and [`MAX_SEQ`]; beyond them ids repeat or turn negative. The
/// chain does not depend on it: the leaf holds lane and seq on their own as well.
#[must_use]
pub fn access_id(lane: u32, seq: u64) -> i64 {
    (i64::from(lane) << SEQ_BITS) | seq.cast_signed()
}
