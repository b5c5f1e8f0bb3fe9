//! What erasing asks of others.

use std::collections::HashMap;

use identity_core::reason::Reason;
use identity_core::vocabulary::Vertical;

use crate::query::{Statement, bind};

pub struct Cleaned {
    pub relation: String,
    pub counts: HashMap<[u8; 16], i64>,
}

pub fn clean(_candidates: &[[u8; 16]]) -> Result<Vec<Cleaned>, Reason> {
    Ok(Vec::new())
}

pub struct Policy {
    pub schedule: String,
}

static POLICY: Statement = Statement::read(
    c"SELECT schedule_version FROM identity.retention_policies WHERE vertical = $1 AND kind = 'general'",
    &[pgrx::pg_sys::TEXTOID],
);

pub fn in_effect(vertical: Vertical) -> Option<Policy> {
    let rows = POLICY.run(&mut [bind(vertical.as_str())]);
    Some(Policy {
        schedule: rows.get(0, 1)?,
    })
}

pub fn due(_access_id: i64, _candidate: &[u8; 16], _path: &str) {}
