//! The arguments.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use identity_core::incarnation::Role;
use identity_core::key::KeyKind;
use identity_core::note::VerifierKey;
use identity_core::vocabulary::RotationReason;

/// Longest name of a witness that is recorded.
const MOST_WITNESS_BYTES: usize = 200;

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
    /// Go on after a restore that brought back less than was anchored
    #[command(subcommand)]
    Incarnation(Incarnation),
    /// Put keys to use
    #[command(subcommand)]
    Keys(Keys),
    /// See which notices have not arrived, and have them tried again
    #[command(subcommand)]
    Outbox(Outbox),
    /// After a restore from an older backup: name the subjects that were erased and are there again
    ///
    /// Locks and declarations are not looked at here: that is `verify anchors`.
    RestoreCheck(RestoreCheck),
    /// Check the ledger without trusting the database
    #[command(subcommand)]
    Verify(Verify),
}

#[derive(Subcommand)]
pub enum Keys {
    /// Have a new key made, brought and put to use in the place of the one that is; then look whether all is well
    ///
    /// What was interrupted is begun again: a new key that waits is taken.
    Rotate(Rotate),
}

#[derive(Args)]
pub struct Rotate {
    /// Which key: dek, chain, index or signing
    #[arg(value_name = "KIND", value_parser = kind)]
    pub kind: KeyKind,
    /// Configuration of the anchor-worker
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Why: scheduled, compromise, cred_loss or recovery
    #[arg(long, value_name = "REASON", value_parser = reason)]
    pub reason: RotationReason,
    /// Who else sees it happen; it is recorded
    #[arg(long, value_name = "NAME", value_parser = witness)]
    pub witness: String,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Subcommand)]
pub enum Incarnation {
    /// Compare the database with the store, and write what there is to declare
    Draft(Draft),
    /// Say in words what a declaration says, and who has signed it
    Show(Show),
    /// Add a party's signature; needs no network
    ///
    /// Says in words what is signed. A signature that was made elsewhere, with openssl pkeyutl, is added by --signature.
    Sign(Sign),
    /// Print a party's line of the file of both parties' keys
    Party(Party),
}

#[derive(Args)]
pub struct Draft {
    /// Configuration of the anchor-worker
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Why the log is shorter, in one line without personal data
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Where the text to be signed goes; must not be there yet
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Show {
    /// The declaration, with or without signatures
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The file of both parties' keys
    #[arg(long, value_name = "FILE")]
    pub parties: PathBuf,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[command(group(ArgGroup::new("with").args(["key", "signature"]).required(true)))]
pub struct Sign {
    /// The declaration; the signature is added to it
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The file of both parties' keys
    #[arg(long, value_name = "FILE")]
    pub parties: PathBuf,
    /// The party's secret key: Ed25519, as openssl genpkey writes it
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// A signature of 64 bytes that was made elsewhere
    #[arg(long, value_name = "FILE", requires = "party")]
    pub signature: Option<PathBuf>,
    /// Whose that signature is
    #[arg(
        long = "as",
        id = "party",
        value_name = "PARTY",
        requires = "signature"
    )]
    pub party: Option<PartyRole>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Party {
    /// Which of the two
    #[arg(value_name = "PARTY")]
    pub role: PartyRole,
    /// The public key: Ed25519, as openssl pkey -pubout writes it
    #[arg(long, value_name = "FILE")]
    pub public_key: PathBuf,
    /// The key's name, without spaces and +; if not given, the party's word
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PartyRole {
    Operator,
    Counsel,
}

impl From<PartyRole> for Role {
    fn from(role: PartyRole) -> Self {
        match role {
            PartyRole::Operator => Self::Operator,
            PartyRole::Counsel => Self::Counsel,
        }
    }
}

#[derive(Subcommand)]
pub enum Outbox {
    /// Name the channels, and what has not arrived: exit code 1 if something is dead
    List(OutboxList),
    /// Try again now what is dead or waits: all of it, or less
    Retry(OutboxRetry),
}

#[derive(Args)]
pub struct OutboxList {
    /// Connection string of a login that is a member of identity_worker or identity_auditor; what it leaves out comes from PGHOST, PGUSER, PGSSLCERT …
    #[arg(value_name = "URL")]
    pub url: Option<String>,
    /// Of this channel alone
    #[arg(long, value_name = "NAME")]
    pub channel: Option<String>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct OutboxRetry {
    /// Connection string of a login that is a member of identity_worker; what it leaves out comes from PGHOST, PGUSER, PGSSLCERT …
    #[arg(value_name = "URL")]
    pub url: Option<String>,
    /// Of this channel alone
    #[arg(long, value_name = "NAME")]
    pub channel: Option<String>,
    /// This notice alone
    #[arg(long, value_name = "ID")]
    pub access_id: Option<i64>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
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
#[command(group(ArgGroup::new("where").args(["config", "directory", "s3"]).required(true)))]
pub struct Anchors {
    #[command(flatten)]
    pub store: Store,
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

/// Where the anchors lie, and what must be true of them.
#[derive(Args)]
pub struct Store {
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
    /// The file of both parties' keys, whose signatures declare an incarnation after a restore
    #[arg(long, value_name = "FILE")]
    pub parties: Option<PathBuf>,
}

/// Reads every list of tombstones in the store and asks the database who of them it has. The login is a member of identity_worker, and the database unlocked.
#[derive(Args)]
pub struct RestoreCheck {
    #[command(flatten)]
    pub anchors: Anchors,
    /// Erase them again
    #[arg(long)]
    pub erase: bool,
}

#[derive(Args)]
#[group(multiple = false)]
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
#[command(group(ArgGroup::new("where").args(["config", "directory", "s3", "prefix", "parties", "retention_days"]).multiple(true).requires("anchors")))]
pub struct Database {
    /// Connection string (postgresql://… or key=value); what it leaves out comes from PGHOST, PGUSER, PGSSLCERT …
    #[arg(value_name = "URL")]
    pub url: Option<String>,
    /// A checkpoint from outside the database: a signed note
    #[arg(long, value_name = "FILE", requires = "keys")]
    pub checkpoint: Option<PathBuf>,
    /// Compare the rows, and the database's own record of anchors, with all anchors of a store that count
    #[arg(long, requires = "keys", requires = "Place")]
    pub anchors: bool,
    #[command(flatten)]
    pub store: Store,
    /// Public key that the checkpoint, or the anchors, must be signed with, as name+id+base64; may be given again
    #[arg(long = "key", value_name = "VKEY", value_parser = key)]
    pub keys: Vec<VerifierKey>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

fn kind(word: &str) -> Result<KeyKind, &'static str> {
    KeyKind::parse(word).ok_or("dek, chain, index or signing")
}

fn reason(word: &str) -> Result<RotationReason, &'static str> {
    RotationReason::parse(word).ok_or("scheduled, compromise, cred_loss or recovery")
}

fn witness(name: &str) -> Result<String, &'static str> {
    let fits = name.len() <= MOST_WITNESS_BYTES && !name.chars().any(char::is_control);
    if fits && !name.trim().is_empty() {
        Ok(name.trim().to_owned())
    } else {
        Err("a name of up to 200 bytes, in one line")
    }
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

    const KEY: &str = "identity_pgx/DEVELOPMENT/0190a3c1-d2e4-7f50-8a9b-b1c2d3e4f506+3ee8a91e+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c";

    #[test]
    fn the_arguments_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_key_is_rotated_without_a_reason_and_a_witness() {
        let parses = |rest: &[&str]| {
            let command = ["identityctl", "keys", "rotate", "dek", "--config", "f"];
            Cli::try_parse_from(command.iter().chain(rest)).is_ok()
        };
        assert!(parses(&["--reason", "scheduled", "--witness", "Ada"]));
        assert!(!parses(&["--reason", "scheduled"]));
        assert!(!parses(&["--witness", "Ada"]));
        for reason in ["", "other", "Scheduled"] {
            assert!(!parses(&["--reason", reason, "--witness", "Ada"]));
        }
        for name in ["", " ", "a\nb", &"x".repeat(201)] {
            assert!(!parses(&["--reason", "recovery", "--witness", name]));
        }
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
    fn rows_are_compared_with_anchors_only_if_both_are_named() {
        let parses = |rest: &[&str]| {
            let command = ["identityctl", "verify", "database"];
            Cli::try_parse_from(command.iter().chain(rest)).is_ok()
        };
        assert!(parses(&["--anchors", "--directory", "d", "--key", KEY]));
        assert!(parses(&[
            "url",
            "--anchors",
            "--s3",
            "b",
            "--region",
            "r",
            "--key",
            KEY
        ]));
        assert!(!parses(&["--anchors", "--key", KEY]));
        assert!(!parses(&["--anchors", "--directory", "d"]));
        // An auditor who forgets the word must not believe that it was done.
        assert!(!parses(&["--directory", "d", "--key", KEY]));
        assert!(!parses(&["--parties", "p"]));
    }

    #[test]
    fn a_checkpoint_is_not_checked_without_a_key() {
        let arguments = ["identityctl", "verify", "database", "--checkpoint", "file"];
        assert!(Cli::try_parse_from(arguments).is_err());
    }
}
