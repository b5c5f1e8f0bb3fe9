//! The leaf that closes a batch: what was sealed, on which server, under which settings. Specified in
//! `docs/spec/seal.md`.

use crate::framing::Hash;
use crate::instant;
use crate::json::Object;
use crate::merkle::Digest;
use crate::moment;
use crate::trace::is_purpose_token;

/// Value of the member `schema`: names the format of the leaf and its version.
pub const SCHEMA: &str = "identity_pgx/seal/v1";

/// Longest seal leaf, in bytes: every number and word at its longest.
pub const MAX_SEAL_LEAF_BYTES: usize = 800;

/// What a seal leaf says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealLeaf<'a> {
    /// Number of the batch, from 1.
    pub batch: u64,
    /// Root of the batch.
    pub batch_root: Digest,
    /// Rows in the batch; 0 when all rows of the partition became leaves of their own.
    pub batch_rows: u64,
    /// Version of the chain key when it was sealed: the key of this leaf's salt.
    pub chain_version: i32,
    /// Number of the cut, from 1. All seals of one cut are made in one transaction.
    pub cut: u64,
    /// Provider of the keys; `development` for keys that anybody has.
    pub keys: &'a str,
    /// [`LaneHeads`] after this cut.
    pub lane_heads: Digest,
    /// Position in the write-ahead log, as its 64 bits.
    pub lsn: u64,
    /// Rows of the partition that became leaves of their own in this cut.
    pub merkle_rows: u64,
    /// Month of the rows, `YYYY-MM`.
    pub partition: &'a str,
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub sealed_at: i64,
    /// [`crate::event_digest`] of kind `settings_change` over the settings in force.
    pub settings: Digest,
    /// The cluster's system identifier.
    pub system_identifier: u64,
    /// The timeline it was on.
    pub timeline: u32,
}

impl<'a> SealLeaf<'a> {
    /// The leaf: UTF-8, RFC 8785, no trailing newline. `keys` and `partition` need no escaping in
    /// the forms that [`SealLeaf::parse`] takes.
    #[must_use]
    pub fn leaf(&self) -> Vec<u8> {
        // Keys stand here in canonical order; `keys_are_in_canonical_order` tests it.
        let mut leaf = Object::with_capacity(MAX_SEAL_LEAF_BYTES);
        leaf.integer("batch", self.batch);
        leaf.hex("batch_root", &self.batch_root);
        leaf.integer("batch_rows", self.batch_rows);
        leaf.integer("chain_version", self.chain_version);
        leaf.integer("cut", self.cut);
        leaf.text("keys", self.keys);
        leaf.hex("lane_heads", &self.lane_heads);
        leaf.word("lsn", &lsn_text(self.lsn));
        leaf.integer("merkle_rows", self.merkle_rows);
        leaf.text("partition", self.partition);
        leaf.word("schema", SCHEMA);
        leaf.quoted("sealed_at", |out| instant::write(out, self.sealed_at));
        leaf.hex("settings", &self.settings);
        leaf.integer("system_identifier", self.system_identifier);
        leaf.integer("timeline", self.timeline);
        leaf.finish()
    }

    /// Reads a seal leaf; `None` for any bytes that [`SealLeaf::leaf`] does not write.
    ///
    /// Members are read as leniently as is simple, and what was read is written again: where the
    /// bytes differ, they were not canonical.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() > MAX_SEAL_LEAF_BYTES {
            return None;
        }
        let mut rest = core::str::from_utf8(bytes).ok()?.strip_prefix('{')?;
        let mut member = |key| value(&mut rest, key);
        let seal = Self {
            batch: number(member("batch")?)?,
            batch_root: digest(member("batch_root")?)?,
            batch_rows: number(member("batch_rows")?)?,
            chain_version: member("chain_version")?.parse().ok()?,
            cut: number(member("cut")?)?,
            keys: provider(member("keys")?)?,
            lane_heads: digest(member("lane_heads")?)?,
            lsn: lsn(member("lsn")?)?,
            merkle_rows: number(member("merkle_rows")?)?,
            partition: month(member("partition")?)?,
            sealed_at: {
                member("schema")?;
                moment::parse(member("sealed_at")?)?
            },
            settings: digest(member("settings")?)?,
            system_identifier: number(member("system_identifier")?)?,
            timeline: member("timeline")?.parse().ok()?,
        };
        (seal.leaf() == bytes).then_some(seal)
    }
}

/// The digest of where every lane stands: `SHA-256(LP("identity_pgx/lane_heads/v1") ‖ for each lane
/// that ever had a row, ascending: u32 BE lane ‖ u64 BE seq ‖ mac)`.
///
/// With it a seal says how far each lane reached: rows cut off its end are missed.
pub struct LaneHeads(Hash);

impl LaneHeads {
    /// No lane yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Hash::tagged("identity_pgx/lane_heads/v1"))
    }

    /// Adds the head of the next lane; lanes come in ascending order.
    pub fn push(&mut self, lane: u32, seq: u64, mac: &[u8; 32]) {
        self.0.add(&lane.to_be_bytes());
        self.0.add(&seq.to_be_bytes());
        self.0.add(mac);
    }

    /// The digest.
    #[must_use]
    pub fn finish(self) -> Digest {
        self.0.finish()
    }
}

impl Default for LaneHeads {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes the next member off the front, which must have this key, and gives its value.
fn value<'a>(rest: &mut &'a str, key: &str) -> Option<&'a str> {
    let after = rest.strip_prefix(',').unwrap_or(rest);
    let quoted = after.strip_prefix('"')?.strip_prefix(key)?;
    let (value, left) = quoted.strip_prefix("\":\"")?.split_once('"')?;
    *rest = left;
    Some(value)
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}

fn digest(text: &str) -> Option<Digest> {
    let mut digest = [0; 32];
    let pairs = text.as_bytes().chunks(2);
    for (byte, pair) in digest.iter_mut().zip(pairs) {
        *byte = u8::from_str_radix(core::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}

/// A provider of keys is a word like those of purposes.
fn provider(text: &str) -> Option<&str> {
    is_purpose_token(text).then_some(text)
}

/// `YYYY-MM`.
fn month(text: &str) -> Option<&str> {
    moment::parse(&format!("{text}-01T00:00:00Z")).map(|_| text)
}

/// As PostgreSQL writes a `pg_lsn`: both halves in upper-case hex, without leading zeros.
fn lsn_text(lsn: u64) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn & u64::from(u32::MAX))
}

fn lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    let half = |text| u32::from_str_radix(text, 16).ok().map(u64::from);
    Some(half(high)? << 32 | half(low)?)
}
