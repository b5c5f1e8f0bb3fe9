//! The arguments.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use identity_core::note::VerifierKey;

/// Command line of identity_pgx.
///
/// Exit codes: 0 good, 1 tampered or refused, 2 could not check.
#[derive(Parser)]
#[command(version, about, long_about)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Check the ledger without trusting the database
    #[command(subcommand)]
    Verify(Verify),
}

#[derive(Subcommand)]
pub enum Verify {
    /// Check rows and their proofs from files, with no database at all
    Bundle(Bundle),
    /// Read every row of a database and compare it with the ledger, and with a signed checkpoint
    Database(Database),
}

#[derive(Args)]
pub struct Bundle {
    /// Bundles: JSON of the schema identity_pgx/bundle/v1
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Public key that checkpoints must be signed with, as name+id+base64; may be given again
    #[arg(long = "key", value_name = "VKEY", required = true, value_parser = key)]
    pub keys: Vec<VerifierKey>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Database {
    /// Connection string (postgresql://… or key=value); what it leaves out comes from PGHOST, PGUSER, PGSSLCERT …
    #[arg(value_name = "URL")]
    pub url: Option<String>,
    /// A checkpoint from outside the database: a signed note
    #[arg(long, value_name = "FILE", requires = "keys")]
    pub checkpoint: Option<PathBuf>,
    /// Public key that the checkpoint must be signed with, as name+id+base64; may be given again
    #[arg(long = "key", value_name = "VKEY", value_parser = key)]
    pub keys: Vec<VerifierKey>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

fn key(text: &str) -> Result<VerifierKey, &'static str> {
    VerifierKey::parse(text).ok_or(
        "not a verifier key of Ed25519: it looks like log.example.org+1a2b3c4d+AQ…; of one that lies in a file, give the text: --key \"$(cat FILE)\"",
    )
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_bundle_is_not_checked_without_a_key() {
        assert!(Cli::try_parse_from(["identityctl", "verify", "bundle", "file"]).is_err());
        assert!(
            Cli::try_parse_from(["identityctl", "verify", "bundle", "file", "--key", "x"]).is_err()
        );
    }

    #[test]
    fn a_checkpoint_is_not_checked_without_a_key() {
        let arguments = ["identityctl", "verify", "database", "--checkpoint", "file"];
        assert!(Cli::try_parse_from(arguments).is_err());
    }
}
