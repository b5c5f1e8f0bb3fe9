//! Free texts about a subject: the salted digest goes on the chain, the text with its salt where an erasure can take it away.

use identity_core::evidence_digest;
use pgrx::pg_sys;

use crate::clock;
use crate::query::{Statement, bind};

static KEEP: Statement = Statement::write(
    c"INSERT INTO identity.subject_texts (access_id, candidate_id, kind, salt, content) VALUES ($1, $2, $3, $4, $5)",
    &[
        pg_sys::INT8OID,
        pg_sys::UUIDOID,
        pg_sys::TEXTOID,
        pg_sys::BYTEAOID,
        pg_sys::TEXTOID,
    ],
);

/// Whether the text that lies beside an event, with its salt, is the one that the event's digest is of. `stays`: whether one that the event has may not be
/// gone.
pub fn fits(digest: Option<[u8; 32]>, text: Option<(&[u8], &str)>, stays: bool) -> bool {
    let Some((salt, content)) = text else {
        return digest.is_none() || !stays;
    };
    let salt: Option<[u8; 16]> = salt.try_into().ok();
    let computed = salt.map(|salt| evidence_digest(&salt, content));
    computed.is_some() && computed == digest
}

pub struct Text {
    salt: [u8; 16],
    content: String,
    pub digest: [u8; 32],
}

impl Text {
    pub fn new(content: String) -> Self {
        let salt = clock::random();
        Self {
            digest: evidence_digest(&salt, &content),
            salt,
            content,
        }
    }

    /// Stores the text beside the event that has its digest. Runs inside the call's snapshot.
    pub fn keep(&self, access_id: i64, candidate: &[u8; 16], kind: &str) {
        KEEP.run(&mut [
            bind(access_id),
            bind(pgrx::Uuid::from_bytes(*candidate)),
            bind(kind),
            bind(self.salt.to_vec()),
            bind(self.content.as_str()),
        ]);
    }
}
