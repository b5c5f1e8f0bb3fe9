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
