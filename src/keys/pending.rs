//! What a transaction changes in the region when it commits. A rotation that is rolled back, with its savepoint too, changes nothing.
//!
//! The lock on the keyring is held until after that: whoever takes it next finds in memory what the table says.

use identity_core::KeyKind;
use pgrx::pg_sys;

use super::region;
use crate::backend_local::BackendLocal;

/// A change of the region.
#[derive(Clone, Copy)]
pub enum Change {
    /// The keys that were brought in this epoch may be used, these of them to encrypt, chain and sign with.
    Unlock {
        epoch: [u8; 16],
        installation: [u8; 16],
        log: pg_sys::Oid,
        active: [Option<(KeyKind, u32)>; KeyKind::ALL.len()],
    },
    /// This version is the one to work with.
    Activate {
        epoch: [u8; 16],
        kind: KeyKind,
        version: u32,
    },
    /// Fields were encrypted anew.
    Reencrypted,
    /// Nothing refers to this version of the field encryption keys any more.
    Retire { version: u32 },
}

struct Local {
    /// With the subtransaction that made it.
    changes: Vec<(pg_sys::SubTransactionId, Change)>,
    /// Whether the transaction wrote the keyring.
    wrote: bool,
}

static LOCAL: BackendLocal<Local> = BackendLocal::new(Local {
    changes: Vec::new(),
    wrote: false,
});

/// The region changes like this if the current (sub)transaction commits.
pub fn at_commit(change: Change) {
    // SAFETY: reads the transaction state.
    let subtransaction = unsafe { pg_sys::GetCurrentSubTransactionId() };
    LOCAL.with(|local| local.changes.push((subtransaction, change)));
}

/// The current transaction writes the keyring.
pub fn writes_keyring() {
    LOCAL.with(|local| local.wrote = true);
}

/// Whether it did: what it sees there may never commit.
pub fn wrote_keyring() -> bool {
    LOCAL.with(|local| local.wrote)
}

/// Called from the commit callback: allocates nothing, cannot raise.
pub fn commit() {
    LOCAL.with(|local| {
        if !local.changes.is_empty() {
            // SAFETY: reads a counter of the server.
            let next = unsafe { pg_sys::ReadNextFullTransactionId() }.value;
            for (_, change) in &local.changes {
                apply(change, next);
            }
        }
        local.changes.clear();
        local.wrote = false;
    });
}

pub fn abort() {
    LOCAL.with(|local| {
        local.changes.clear();
        local.wrote = false;
    });
}

pub fn commit_subtransaction(child: pg_sys::SubTransactionId, parent: pg_sys::SubTransactionId) {
    LOCAL.with(|local| {
        let of_child = local.changes.iter_mut().filter(|(id, _)| *id == child);
        of_child.for_each(|(id, _)| *id = parent);
    });
}

pub fn abort_subtransaction(child: pg_sys::SubTransactionId) {
    LOCAL.with(|local| local.changes.retain(|(id, _)| *id != child));
}

fn apply(change: &Change, next: u64) {
    match change {
        Change::Unlock {
            epoch,
            installation,
            log,
            active,
        } => region::unlock(epoch, installation, *log, active, next),
        Change::Activate {
            epoch,
            kind,
            version,
        } => region::activate(epoch, *kind, *version, next),
        Change::Reencrypted => region::reencrypted(next),
        Change::Retire { version } => region::retire(*version),
    }
}
