//! Writes what waits: rows in the recorder's own lane, a batch of slots a transaction.

use std::sync::atomic::{AtomicBool, Ordering};

use identity_core::field::FieldSet;
use identity_core::reason::Reason;
use identity_core::vocabulary::{AccessorKind, Zone};
use pgrx::pg_sys::{self, errcodes::PgSqlErrorCode};
use pgrx::prelude::*;

use super::{intake, refusals};
use crate::backend_local::BackendLocal;
use crate::keys::{self, region::Keys};
use crate::record::{Entry, Fate, Shape, Short};
use crate::{caller, error, lane, worker_process};

/// Slots written in one transaction.
const BATCH: usize = 256;

/// What the running transaction writes: freed by the commit callback, so that a row is written once even if we die right after.
static WRITING: BackendLocal<Vec<u32>> = BackendLocal::new(Vec::new());
static REGISTERED: AtomicBool = AtomicBool::new(false);

/// Writes one batch; returns how many slots and overflows it dealt with. If that fails, a single row may be the cause: then each slot is
/// written alone, and what fails alone is set aside; a month without a partition gets one from the maintenance process meanwhile.
pub fn write_batch() -> usize {
    let (slots, overflow) = (intake::take(BATCH), refusals::overflow());
    if slots.is_empty() && overflow.is_empty() {
        return 0;
    }
    match write(&slots, &overflow) {
        Ok(true) => return slots.len() + overflow.len(),
        Ok(false) => {
            intake::return_taken();
            return 0;
        }
        Err(_) => {}
    }
    let mut failure = write(&[], &overflow).err();
    let mut failed = 0;
    for slot in &slots {
        if let Err(state) = write(&[*slot], &[]) {
            intake::set_aside(*slot);
            failed += 1;
            failure = Some(state);
        }
    }
    if let Some(state) = failure {
        pgrx::warning!(
            "identity_pgx: {failed} of {} records could not be written and are set aside, to be tried again: {state:?}",
            slots.len()
        );
    }
    intake::return_taken();
    slots.len()
}

/// Writes the records of these slots in one transaction. False without the chain key: nothing was written.
fn write(slots: &[u32], overflow: &[(u32, u32)]) -> Result<bool, PgSqlErrorCode> {
    let written = worker_process::try_in_transaction_as_keeper(|| {
        register_commit_callback();
        let Some(keys) = keys::active() else {
            return false;
        };
        for record in slots.iter().map(|slot| intake::taken(*slot)) {
            for entry in record.entries() {
                append(&keys, &record.shape, entry, &record.fate);
            }
        }
        for (role, count) in overflow {
            let fate = Fate::denied(Reason::RecorderFull, *count);
            append(&keys, &overflowing(*role), &Entry::now(), &fate);
        }
        WRITING.with(|writing| *writing = slots.to_vec());
        true
    })?;
    if written {
        overflow
            .iter()
            .for_each(|(role, count)| refusals::settle_overflow(*role, *count));
    }
    Ok(written)
}

fn append(keys: &Keys, shape: &Shape, entry: &Entry, fate: &Fate) {
    if let Err(reason) = lane::append(keys, shape, entry, fate) {
        error::raise(reason);
    }
}

/// The shape of refusals of which only their caller and number are known.
fn overflowing(role: u32) -> Shape {
    let name = caller::role_name(role.into());
    Shape {
        session: role,
        kind: AccessorKind::GatewayLookup,
        zone: Zone::None,
        fields: FieldSet::EMPTY,
        role: name,
        outer: name,
        application: Short::EMPTY,
        purpose: Short::EMPTY,
        purpose_version: None,
        trace: Short::EMPTY,
        certificate: None,
    }
}

fn register_commit_callback() {
    if !REGISTERED.swap(true, Ordering::Relaxed) {
        // SAFETY: a function of this library, registered once in this process.
        unsafe { pg_sys::RegisterXactCallback(Some(free_written), std::ptr::null_mut()) };
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn free_written(
    event: pg_sys::XactEvent::Type,
    _argument: *mut std::ffi::c_void,
) {
    match event {
        pg_sys::XactEvent::XACT_EVENT_COMMIT => WRITING.with(|writing| {
            writing.iter().for_each(|slot| intake::written(*slot));
            writing.clear();
        }),
        // The slots stay TAKEN, by us or for our successor, to be tried again.
        pg_sys::XactEvent::XACT_EVENT_ABORT => WRITING.with(Vec::clear),
        _ => {}
    }
}
