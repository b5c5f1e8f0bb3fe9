//! `identityctl`: the command line of identity_pgx for operators, counsel and auditors.
//!
//! | file | one job |
//! |---|---|
//! | `cli.rs` | the arguments |
//! | `keys/rotate.rs` | a new key in the place of an old one |
//! | `outbox.rs` | which notices have not arrived, and trying them again |
//! | `report.rs` | what was found, for people and as JSON, and the exit code |
//! | `verify/anchors/` | what lies in the store of anchors, and whether the database is what was anchored |
//! | `verify/bundle.rs` | proofs in files, checked offline |
//! | `verify/database/` | the log and the ledger of a database, read row by row |
//!
//! Exit codes: 0 good, 1 tampered or refused, 2 could not check.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod cli;
mod keys;
mod outbox;
mod report;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command, Keys, Outbox, Verify};

fn main() -> ExitCode {
    // A defect of ours, or a processor that the TLS library does not know, must not end in a code that says something of the ledger.
    std::panic::catch_unwind(run).unwrap_or(ExitCode::from(2))
}

fn run() -> ExitCode {
    // clap ends the process with 2 for arguments it does not understand: nothing was checked.
    let (report, json) = match Cli::parse().command {
        Command::Keys(Keys::Rotate(arguments)) => (keys::rotate::run(&arguments), arguments.json),
        Command::Outbox(Outbox::List(arguments)) => (outbox::list(&arguments), arguments.json),
        Command::Outbox(Outbox::Retry(arguments)) => (outbox::retry(&arguments), arguments.json),
        Command::Verify(Verify::Anchors(arguments)) => {
            (verify::anchors::run(&arguments), arguments.json)
        }
        Command::Verify(Verify::Bundle(arguments)) => {
            (verify::bundle::run(&arguments), arguments.json)
        }
        Command::Verify(Verify::Database(arguments)) => {
            (verify::database::run(&arguments), arguments.json)
        }
    };
    report.print(json)
}
