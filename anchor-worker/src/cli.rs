//! The arguments.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use identity_core::key::KeyKind;

/// Companion of identity_pgx: unlocks the database with keys from a key service, and anchors its log where nobody can take it back.
///
/// Exit codes: 0 good, 1 refused (look at once), 2 could not.
#[derive(Parser)]
#[command(version, about, long_about)]
pub struct Cli {
    /// The configuration
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/anchor-worker/config.toml"
    )]
    pub config: PathBuf,
    /// How to log on standard error; without it, text on a terminal and JSON elsewhere
    #[arg(long, value_name = "FORM")]
    pub log: Option<LogForm>,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogForm {
    Text,
    Json,
}

#[derive(Subcommand)]
pub enum Command {
    /// Unlock, anchor, do the nights and bring notices until told to stop
    Run,
    /// Unlock, anchor and publish tombstones once
    Once,
    /// Explain each mistake of the configuration, and reach everything that it names
    CheckConfig,
    /// Make the key that the database knows this worker by, and print its public half
    NewKey {
        /// Where the secret half goes; must not be there yet
        file: PathBuf,
    },
    /// Make the next key of a kind; key_rotate puts it to use
    Enrol {
        /// dek, chain, index or signing
        #[arg(value_parser = kind)]
        kind: KeyKind,
    },
    /// Have the keyring wrapped by the newest version of the key service's key
    Rewrap,
    /// Put a declaration that both parties have signed into effect: after a restore the log goes on as another incarnation
    Declare {
        /// The signed declaration
        file: PathBuf,
    },
    /// Forget which database was unlocked: after it was moved, promoted or restored, and a person knows why
    ForgetDatabase,
}

fn kind(word: &str) -> Result<KeyKind, &'static str> {
    KeyKind::parse(word).ok_or("dek, chain, index or signing")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        Cli::command().debug_assert();
    }
}
