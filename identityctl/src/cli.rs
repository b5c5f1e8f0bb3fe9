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
    /// Read every version in the store of anchors, and compare them with one another and with a database
    Anchors(Anchors),
    /// Check rows and their proofs from files, with no database at all
    Bundle(Bundle),
    /// Read every row of a database and compare it with the ledger, and with a signed checkpoint
    Database(Database),
}

#[derive(Args)]
pub struct Anchors {
    #[command(flatten)]
    pub place: Place,
    /// What the keys of the anchors begin with, if not with checkpoints/
    #[arg(long, value_name = "PREFIX", conflicts_with = "config")]
    pub prefix: Option<String>,
    /// Region of the bucket
    #[arg(long, value_name = "REGION", requires = "s3")]
    pub region: Option<String>,
    /// Address of an S3 service that is not Amazon's
    #[arg(long, value_name = "URL", requires = "s3")]
    pub endpoint: Option<String>,
    /// PEM file of the certificates that may vouch for the endpoint
    #[arg(long, value_name = "FILE", requires = "s3")]
    pub ca_file: Option<PathBuf>,
    /// For how many days at least each anchor must have been locked; without it, as configured or 7 years
    #[arg(long, value_name = "DAYS")]
    pub retention_days: Option<u32>,
    /// Public key that the checkpoints must be signed with, as name+id+base64; may be given again
    #[arg(long = "key", value_name = "VKEY", required = true, value_parser = key)]
    pub keys: Vec<VerifierKey>,
    /// Connection string of the database that was anchored
    #[arg(long, value_name = "URL")]
    pub database: Option<String>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// Where the anchors lie.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Place {
    /// Configuration of the anchor-worker, whose section [store] is read
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A directory of anchors
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// A bucket; credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
    #[arg(long, value_name = "BUCKET", requires = "region")]
    pub s3: Option<String>,
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
    fn anchors_are_not_checked_without_a_key_or_a_place() {
        const KEY: &str = "identity_pgx/DEVELOPMENT/0190a3c1-d2e4-7f50-8a9b-b1c2d3e4f506+3ee8a91e+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c";
        let parses = |rest: &[&str]| {
            let command = ["identityctl", "verify", "anchors"];
            Cli::try_parse_from(command.iter().chain(rest)).is_ok()
        };
        assert!(parses(&["--directory", "d", "--key", KEY]));
        assert!(parses(&["--s3", "b", "--region", "r", "--key", KEY]));
        assert!(!parses(&["--directory", "d"]));
        assert!(!parses(&["--key", KEY]));
        assert!(!parses(&["--s3", "b", "--key", KEY]));
        assert!(!parses(&[
            "--directory",
            "d",
            "--config",
            "f",
            "--key",
            KEY
        ]));
    }

    #[test]
    fn a_checkpoint_is_not_checked_without_a_key() {
        let arguments = ["identityctl", "verify", "database", "--checkpoint", "file"];
        assert!(Cli::try_parse_from(arguments).is_err());
    }
}
