//! The maintenance process: keeps partitions ahead, numbers the changes of subjects, records the settings in force at each start and after each
//! reload that changed one, writes the notices of volume, tells who seals that there is something to seal, destroys the files of biometrics that were erased, sweeps at night, and scrubs after erasures.
//!
//! It is not the recorder: partition DDL may wait for a lock, and the recorder must not.

use std::time::Duration;

use identity_core::vocabulary::{AccessorKind, NoticeKind};
use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder, BgWorkerStartTime};
use pgrx::pg_sys::{self, errcodes::PgSqlErrorCode};
use pgrx::prelude::*;

use crate::biometric::files;
use crate::caller::Caller;
use crate::gucs::Settings;
use crate::keys;
use crate::ledger::{due, lag, partitions, table};
use crate::limits::notices;
use crate::query::{Statement, bind, connected};
use crate::record::{Entry, Fate};
use crate::recorder::{intake, slots};
use crate::retention::nightly::Night;
use crate::scrub::rounds::Rounds;
use crate::subject::changes;
use crate::{clock, error, gucs, json_text, lane, outbox, worker_process};

const ROUND: Duration = Duration::from_secs(1);
const ROUNDS_PER_UPKEEP: u32 = 3600;

static RECORD_SETTINGS: Statement = Statement::write(
    c"INSERT INTO identity.settings_history (access_id, recorded_at, settings) VALUES ($1, $2, $3::jsonb)",
    &[pg_sys::INT8OID, pg_sys::TIMESTAMPTZOID, pg_sys::TEXTOID],
);

/// Asks the postmaster for the maintenance process.
pub fn register() {
    BackgroundWorkerBuilder::new("identity_pgx maintenance")
        .set_type("identity_pgx maintenance")
        .set_library("identity_pgx")
        .set_function("identity_maintenance_main")
        .set_start_time(BgWorkerStartTime::RecoveryFinished)
        .set_restart_time(Some(Duration::from_secs(10)))
        .enable_spi_access()
        .load();
}

#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn identity_maintenance_main(_argument: pg_sys::Datum) {
    worker_process::connect();
    let mut recorded: Option<Settings> = None;
    let mut rounds_until_upkeep = 0;
    let mut night = Night::new();
    let mut scrub = Rounds::default();
    let mut files_trouble = None;
    let mut notify_trouble = None;
    while BackgroundWorker::wait_latch(Some(ROUND)) {
        if BackgroundWorker::sighup_received() {
            worker_process::reload_configuration();
        }
        if !slots::recorder_lives() {
            worker_process::wake_postmaster();
        }
        if !worker_process::in_transaction(initialized) {
            continue;
        }
        if rounds_until_upkeep == 0 {
            worker_process::in_transaction(|| connected(|| partitions::MAKE.run(&mut [])));
            rounds_until_upkeep = ROUNDS_PER_UPKEEP;
        }
        rounds_until_upkeep -= 1;
        worker_process::in_transaction(make_partitions_for_what_waits);
        let settings = gucs::effective();
        if recorded.as_ref() != Some(&settings) {
            let weakened = weakened(recorded.as_ref(), &settings);
            if worker_process::in_transaction(|| record(&settings, !weakened.is_empty())) {
                alarm(&weakened);
                recorded = Some(settings);
            }
        }
        // After the settings: what a client can make fail (a NOTIFY queue that is full) must not keep an alarm back.
        notices::write_due();
        changes::number_committed();
        lag::keep_up();
        notify_trouble = due::notify(notify_trouble);
        files_trouble = destroy_files(files_trouble);
        // Last: these take the longest.
        if !night.round() {
            scrub.round();
        }
    }
    worker_process::exit()
}

/// A clock that was wrong for a moment leaves records of a month that has no partition; they wait for
/// one, and are not lost.
fn make_partitions_for_what_waits() {
    let mut waiting = intake::waiting_moments();
    waiting.retain(|moment| !table::has_partition(*moment));
    if let Some(moment) = waiting.first() {
        let month = Some(pg_sys::Datum::from(moment - clock::UNIX_EPOCH_MICROS));
        connected(|| partitions::MAKE_FOR.run(&mut [month]));
    }
}

/// Works off the list of files. What is in the way of all of them is told once, and tried again in the next round; what is in the way of one of them stands
/// in the list.
fn destroy_files(before: Option<PgSqlErrorCode>) -> Option<PgSqlErrorCode> {
    let trouble = worker_process::try_in_transaction_as_keeper(files::destroy).err();
    if let Some(code) = trouble.filter(|code| before != Some(*code)) {
        pgrx::warning!(
            "identity_pgx: files of erased biometrics cannot be destroyed: {}",
            error::sqlstate(code)
        );
    }
    trouble
}

fn initialized() -> bool {
    connected(|| {
        partitions::INITIALIZED
            .run(&mut [])
            .get(0, 1)
            .unwrap_or(false)
    })
}

/// Puts the settings on the chain; false while keys are locked or the row cannot be written, and it is tried again: were it an error, this process would
/// begin anew ten seconds later, and the month that the row waits for is made here.
fn record(settings: &Settings, weakened: bool) -> bool {
    let Some(keys) = keys::active() else {
        return false;
    };
    let fate = Fate::event(gucs::digest(&keys.installation, settings));
    let shape = Caller::current().shape(AccessorKind::SettingsChange);
    let entry = Entry::now();
    let Ok(access_id) = lane::append(&keys, &shape, &entry, &fate) else {
        return false;
    };
    let members = settings
        .each_ref()
        .map(|(name, value)| (*name, json_text::quoted(value)));
    connected(|| {
        RECORD_SETTINGS.run(&mut [
            bind(access_id),
            Some(pg_sys::Datum::from(clock::now())),
            bind(json_text::object(members)),
        ])
    });
    if weakened {
        outbox::add(access_id, &entry, NoticeKind::SettingWeakened);
    }
    true
}

/// The settings that protect less than before.
fn weakened<'a>(before: Option<&Settings>, after: &'a Settings) -> Vec<&'a (&'static str, String)> {
    let weaker = after.iter().enumerate().filter(|(at, (name, value))| {
        let before = before
            .and_then(|settings| settings.get(*at))
            .map(|(_, value)| value.as_str());
        gucs::is_weaker(name, before, value)
    });
    weaker.map(|(_, setting)| setting).collect()
}

fn alarm(weakened: &[&(&'static str, String)]) {
    for (name, value) in weakened {
        pgrx::warning!("identity_pgx: identity_pgx.{name} is {value}, which weakens protection");
    }
}
