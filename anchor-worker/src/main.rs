//! `anchor-worker`: the program.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;

use anchor_worker::cli::{Cli, Command};
use anchor_worker::config::Config;
use anchor_worker::outbox::Alarms;
use anchor_worker::run::{Verdict, Worker};
use anchor_worker::stop::Stop;
use anchor_worker::trouble::Trouble;
use anchor_worker::unlock::Place;
use anchor_worker::{check, keys, logs, new_key};
use clap::Parser as _;
use tracing::error;

fn main() -> ExitCode {
    // A defect of ours must not end in a code that says something of the log.
    let verdict = std::panic::catch_unwind(run).unwrap_or(Verdict::CouldNot);
    ExitCode::from(verdict as u8)
}

fn run() -> Verdict {
    let cli = Cli::parse();
    let alarms = logs::begin(cli.log);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        error!(event = "start", "the system gives no timers or sockets");
        return Verdict::CouldNot;
    };
    runtime.block_on(async {
        match cli.command {
            Command::Run => work(&cli.config, false, &alarms).await,
            Command::Once => work(&cli.config, true, &alarms).await,
            Command::CheckConfig => check::run(&cli.config).await,
            Command::NewKey { file } => told(
                new_key::make(&file)
                    .map(|public| format!("identity_pgx.worker_public_key = '{public}'")),
            ),
            Command::Enrol { kind } => match read(&cli.config) {
                Some(config) => told(keys::enrol(&config, kind).await),
                None => Verdict::CouldNot,
            },
            Command::Rewrap => match read(&cli.config) {
                Some(config) => told(keys::rewrap(&config).await),
                None => Verdict::CouldNot,
            },
            Command::ForgetDatabase => forget(&cli.config),
        }
    })
}

async fn work(file: &Path, once: bool, alarms: &Alarms) -> Verdict {
    let Some(config) = read(file) else {
        return Verdict::CouldNot;
    };
    let stop = Stop::default();
    let worker = match stop.listen() {
        Ok(()) => Worker::open(config, stop.clone(), alarms).await,
        Err(trouble) => Err(trouble),
    };
    let worker = match worker {
        Ok(worker) => worker,
        Err(trouble) => {
            error!(event = "start", trouble = %trouble, "the worker could not start");
            return Verdict::CouldNot;
        }
    };
    let verdict = if once {
        stop.bounded(worker.once()).await
    } else {
        stop.bounded(worker.run()).await
    };
    verdict.unwrap_or_else(|| {
        error!(event = "stopped", "stopped in the middle of something");
        Verdict::CouldNot
    })
}

fn read(file: &Path) -> Option<Config> {
    match Config::read(file) {
        Ok(config) => Some(config),
        Err(mistakes) => {
            for mistake in mistakes {
                error!(event = "config", file = %file.display(), "{mistake}");
            }
            None
        }
    }
}

fn forget(file: &Path) -> Verdict {
    let Some(config) = read(file) else {
        return Verdict::CouldNot;
    };
    let forgotten = match &config.unlock {
        Some(unlock) => Place::forget(&unlock.settings.state_directory),
        None => Ok(false),
    };
    told(forgotten.map(|there| {
        let text = if there {
            "forgotten: the next database that is found locked is unlocked and remembered"
        } else {
            "no database was remembered"
        };
        text.to_owned()
    }))
}

fn told(done: Result<String, Trouble>) -> Verdict {
    match done {
        Ok(text) => {
            println!("{text}");
            Verdict::Good
        }
        Err(trouble) => {
            eprintln!("{trouble}");
            Verdict::of(&trouble)
        }
    }
}
