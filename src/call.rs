//! One call of one of our functions: may it proceed at all, what will be recorded of it, and how it is refused.

use std::cell::Cell;

use identity_core::reason::Reason;
use identity_core::vocabulary::AccessorKind;
use pgrx::pg_sys;

use crate::backend_local::BackendLocal;
use crate::caller::{self, Caller};
use crate::keys::{self, region::Keys};
use crate::ledger::lag;
use crate::limits::{self, Counted};
use crate::query::{Statement, connected, with_latest_snapshot};
use crate::record::{Entry, Fate, Line, Shape};
use crate::recorder::{queue, refusals, slots};
use crate::{caller_revocation, error, forget, gucs, lane, log_hiding, shmem, worker_process};

static INSTALLATION: Statement = Statement::read(c"SELECT true FROM identity.installation", &[]);
static SERVED_DATABASE: BackendLocal<Option<bool>> = BackendLocal::new(None);

/// A call in progress. What is known of it when it is refused goes into its `denied` row.
pub struct Call {
    pub caller: Caller,
    pub shape: Shape,
    pub entry: Entry,
    /// What it has counted against the caller's limits.
    pub counted: Cell<Option<Counted>>,
    /// How many of its reads the recorder holds.
    held: usize,
}

impl Call {
    /// The beginning of every function: the statement is one of ours, and somebody calls.
    pub fn begin(kind: AccessorKind) -> Self {
        if !shmem::attached() {
            error::raise(Reason::NotPreloaded);
        }
        log_hiding::reached();
        let caller = Caller::current();
        let call = Self {
            shape: caller.shape(kind),
            caller,
            entry: Entry::now(),
            counted: Cell::new(None),
            held: 0,
        };
        if forget::in_progress() {
            call.refuse(Reason::RoleConflict);
        }
        call
    }

    /// Refuses: leaves a `denied` row, through the recorder, and raises.
    pub fn refuse(&self, reason: Reason) -> ! {
        for _ in 0..self.held {
            queue::withdraw();
        }
        // What is not disclosed is no matter of volume.
        limits::give_back(self, u32::MAX);
        // A standby has no recorder, and nothing there is ever answered.
        // SAFETY: reads the server's state.
        if !unsafe { pg_sys::RecoveryInProgress() } {
            refusals::refuse(&self.shape, &self.entry, reason);
        }
        error::raise(reason)
    }

    /// The value, or the refusal.
    pub fn allow<T>(&self, result: Result<T, Reason>) -> T {
        result.unwrap_or_else(|reason| self.refuse(reason))
    }

    /// The argument, or the refusal that it is NULL.
    pub fn required<T>(&self, argument: Option<T>) -> T {
        argument.unwrap_or_else(|| self.refuse(Reason::NullArgument))
    }

    /// What every call on subjects or policy needs: a place to be recorded in, a live recorder, unlocked keys, a login that is not revoked.
    pub fn admit(&self) -> Keys {
        let keys = self.admit_to_purpose();
        with_latest_snapshot(|| self.admit_caller());
        keys
    }

    /// The same for a call that names a purpose, but for the login: `purpose::active::admitted` looks at it under the one snapshot of the call.
    pub fn admit_to_purpose(&self) -> Keys {
        self.admit_locked();
        if !slots::recorder_lives() {
            worker_process::wake_postmaster();
            self.refuse(Reason::RecorderDown);
        }
        keys::active().unwrap_or_else(|| {
            self.refuse(if initialized() {
                Reason::Locked
            } else {
                Reason::NotInitialized
            })
        })
    }

    /// What whoever comes for somebody's data needs besides: that what is recorded of it cannot be taken back for longer than was allowed.
    pub fn admit_anchored(&self) {
        if lag::stale(self.entry.at) {
            self.refuse(Reason::AnchorStale);
        }
    }

    /// Refuses a login that is revoked as of now. Runs inside the call's snapshot. Not in `admit_locked`: were the only login revoked that brings
    /// the keys, nobody could reinstate it after a restart.
    pub fn admit_caller(&self) {
        if caller_revocation::stands(&self.caller) {
            self.refuse(Reason::CallerRevoked);
        }
    }

    /// What even the calls need that bring the keys: this database, a transport that is allowed, a transaction that can write.
    pub fn admit_locked(&self) {
        if !serves_this_database() {
            self.refuse(Reason::WrongDatabase);
        }
        if !caller::transport_allowed() {
            self.refuse(Reason::Transport);
        }
        // SAFETY: reads the state of the server and of the transaction.
        if unsafe {
            pg_sys::RecoveryInProgress() || pg_sys::XactReadOnly || pg_sys::IsInParallelMode()
        } {
            self.refuse(Reason::ReadOnly);
        }
    }

    /// From here on the read is recorded even if the transaction does not commit.
    pub fn hold(&mut self) {
        // Were this one refused, the read before it must keep its slot.
        self.held = 0;
        self.allow(queue::hold(&self.shape, &self.entry, &Fate::ROLLED_BACK));
        self.held = 1;
    }

    /// The same for a batch, all or none.
    pub fn hold_batch(&mut self, lines: &[Line]) {
        self.held = 0;
        // A slot holds entries of one fate: those of one fate together take the fewest slots.
        let mut lost = lines
            .iter()
            .map(|line| (line.fate.denial, &line.entry))
            .collect::<Vec<_>>();
        lost.sort_by_key(|(denial, _)| denial.map(|reason| reason as u8));
        for (denial, entry) in lost {
            let fate = denial.map_or(Fate::ROLLED_BACK, |reason| Fate::denied(reason, 1));
            self.allow(queue::hold(&self.shape, entry, &fate));
            self.held += 1;
        }
    }

    /// Appends the call's own row. Returns its access id.
    pub fn append(&self, keys: &Keys, fate: &Fate) -> i64 {
        self.allow(lane::append(keys, &self.shape, &self.entry, fate))
    }

    /// Appends a row for each line of a batch. Returns their access ids.
    pub fn append_batch(&self, keys: &Keys, lines: &[Line]) -> Vec<i64> {
        self.allow(lane::append_many(keys, &self.shape, lines))
    }
}

/// The beginning of a function that reads no subject and leaves no row: preloaded, in this database, over a transport that is allowed.
pub fn operation() {
    if !shmem::attached() {
        error::raise(Reason::NotPreloaded);
    }
    if !serves_this_database() {
        error::raise(Reason::WrongDatabase);
    }
    if !caller::transport_allowed() {
        error::raise(Reason::Transport);
    }
    if forget::in_progress() {
        error::raise(Reason::RoleConflict);
    }
}

/// The same for a function that tells gateways how things stand now, which a standby cannot know and a revoked login is not told.
pub fn current_state() {
    operation();
    // SAFETY: reads the server's state.
    if unsafe { pg_sys::RecoveryInProgress() } {
        error::raise(Reason::ReadOnly);
    }
    if with_latest_snapshot(|| caller_revocation::stands(&Caller::current())) {
        error::raise(Reason::CallerRevoked);
    }
    // SAFETY: constant for the session, or a superuser's to change.
    if !limits::admit_question(unsafe { pg_sys::GetSessionUserId() }.to_u32()) {
        error::raise(Reason::RateLimited);
    }
}

/// Whether the session is in the database that `identity_pgx.database` names. It cannot change while we are connected.
pub fn serves_this_database() -> bool {
    if let Some(known) = SERVED_DATABASE.with(|served| *served) {
        return known;
    }
    // SAFETY: a catalog look-up; null or a palloc'd C string.
    let served = unsafe {
        let name = pg_sys::get_database_name(pg_sys::MyDatabaseId);
        !name.is_null() && std::ffi::CStr::from_ptr(name).to_string_lossy() == gucs::database()
    };
    SERVED_DATABASE.with(|known| *known = Some(served));
    served
}

fn initialized() -> bool {
    with_latest_snapshot(|| connected(|| INSTALLATION.run(&mut []).count > 0))
}
