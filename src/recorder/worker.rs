//! The recorder process: turns queued slots into rows, in a lane of its own.
//!
//! It needs no privilege beyond reading catalogs: rows are written below SQL. It runs as `identity_keeper` all the same.

use std::time::{Duration, Instant};

use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder, BgWorkerStartTime};
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::{intake, slots, writer};
use crate::keys::region;
use crate::query::{Statement, connected};
use crate::worker_process;

const BATCHES_PER_ROUND: usize = 16;
/// At a shutdown, rounds of 10 ms after which what could not be written will not be.
const ROUNDS_WITHOUT_PROGRESS: u32 = 100;
/// The longest time until what was set aside is tried again.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

static OVERRIDDEN: Statement = Statement::read(
    c"SELECT source NOT IN ('default', 'configuration file', 'command line', 'environment variable')
        FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) 'synchronous_commit'",
    &[],
);

/// Asks the postmaster for the recorder.
pub fn register() {
    BackgroundWorkerBuilder::new("identity_pgx recorder")
        .set_type("identity_pgx recorder")
        .set_library("identity_pgx")
        .set_function("identity_recorder_main")
        .set_start_time(BgWorkerStartTime::RecoveryFinished)
        .set_restart_time(Some(Duration::from_secs(1)))
        .enable_spi_access()
        .load();
}

/// The recorder's life. It never returns normally: exit code 0 would mean that it is not started again.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn identity_recorder_main(_argument: pg_sys::Datum) {
    // What the server's configuration says, before the database's own settings come on top of it.
    let configured = synchronous_commit();
    worker_process::connect();
    let overridden = worker_process::in_transaction(overridden);
    slots::set_server_synchronous_commit(configured);
    intake::return_taken();
    intake::return_aside();
    announce();
    let mut retry = Retry::new();
    loop {
        // Its return value is the only way to learn of a SIGTERM: asking resets the flag.
        let stay = BackgroundWorker::wait_latch(Some(Duration::from_secs(1)));
        if BackgroundWorker::sighup_received() {
            worker_process::reload_configuration();
            if overridden {
                // Only a process that is not yet connected sees what the configuration says now.
                worker_process::exit();
            }
            slots::set_server_synchronous_commit(synchronous_commit());
        }
        intake::reclaim_orphans();
        retry.look();
        drain();
        if !stay {
            leave();
        }
    }
}

fn announce() {
    // SAFETY: our own latch lies in shared memory; the exit callback is a function of this library.
    unsafe {
        pg_sys::on_shmem_exit(Some(silence), pg_sys::Datum::from(0));
        slots::set_recorder(pg_sys::MyProcPid, pg_sys::MyLatch);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn silence(_code: i32, _argument: pg_sys::Datum) {
    slots::set_recorder(0, std::ptr::null_mut());
}

/// Whether the database or a role, rather than the server's configuration, sets `synchronous_commit` here.
fn overridden() -> bool {
    connected(|| OVERRIDDEN.run(&mut []).get(0, 1).unwrap_or(true))
}

fn synchronous_commit() -> i32 {
    // SAFETY: a setting of this process.
    unsafe { pg_sys::synchronous_commit }
}

/// At a shutdown of the server: stays until no backend can queue anything more. Terminated otherwise: leaves at once, and the postmaster starts
/// the next recorder a second later; what is queued stays queued.
fn leave() -> ! {
    intake::return_aside();
    let (mut rounds, mut before) = (0, usize::MAX);
    while worker_process::server_is_stopping() {
        intake::reclaim_orphans();
        drain();
        let slots::Load { held, waiting, .. } = slots::load();
        rounds = if held > 0 || waiting < before {
            0
        } else {
            rounds + 1
        };
        before = waiting;
        if held == 0 && (waiting == 0 || rounds > ROUNDS_WITHOUT_PROGRESS) {
            tell_the_log();
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    worker_process::exit()
}

/// What cannot be written when the server goes down, because keys are locked or no table takes it, is told to the server log: off the chain, but not lost.
fn tell_the_log() {
    intake::return_aside();
    for record in intake::take(slots::capacity())
        .into_iter()
        .map(intake::taken)
    {
        let shape = &record.shape;
        for entry in record.entries() {
            pgrx::warning!(
                "identity_pgx: not on the chain: {} {} by \"{}\" under \"{}\", candidate {}, {} us since 1970, repeats {}",
                record.fate.outcome.as_str(),
                shape.kind.as_str(),
                shape.role.as_str(),
                shape.purpose.as_str(),
                entry
                    .candidate
                    .map_or_else(String::new, |id| pgrx::Uuid::from_bytes(id).to_string()),
                entry.at,
                record.fate.repeats,
            );
        }
    }
}

/// When what was set aside is tried again: ever more seldom, since a row that its table refuses leaves a dead version at each try.
struct Retry {
    at: Instant,
    delay: Duration,
}

impl Retry {
    fn new() -> Self {
        Self {
            at: Instant::now(),
            delay: Duration::from_secs(1),
        }
    }

    fn look(&mut self) {
        if !intake::has_aside() {
            *self = Self::new();
        } else if Instant::now() >= self.at {
            intake::return_aside();
            self.at = Instant::now() + self.delay;
            self.delay = (self.delay * 2).min(LONGEST_DELAY);
        }
    }
}

/// Writes what is queued, a batch a transaction. Without the chain key nothing can be written: everything waits.
fn drain() {
    let mut batches = 0;
    // Between rounds signals are looked at, so a round is bounded however fast the queue fills.
    while batches < BATCHES_PER_ROUND && region::state().0 && writer::write_batch() > 0 {
        batches += 1;
    }
}
