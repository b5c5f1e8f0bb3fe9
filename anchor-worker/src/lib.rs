//! `anchor-worker`: the companion process of identity_pgx. It brings the keys from a key service, signs checkpoints and anchors them where nobody
//! can take them back.
//!
//! | module | its one job |
//! |---|---|
//! | [`cli`], [`config`], [`logs`] | arguments; the configuration, each mistake with its place; the log |
//! | [`run`], [`stop`] | the loop: who leads, what is due; how it ends |
//! | `beside`, `reencrypt` | what the leader does beside it, each duty with a session of its own |
//! | [`outbox`] | notices and alarms, brought to webhooks and by mail |
//! | [`step`] | one round of anchoring, decided without any IO |
//! | [`round`] | carries that out |
//! | [`database`] | the database's side of it |
//! | [`store`] | where anchors lie: S3, or a directory |
//! | [`signer`] | what signs checkpoints |
//! | [`unlock`] | the keys in: which database may have them, and how they are sealed to it |
//! | [`kek`] | what wraps those keys |
//! | `metrics` | what monitoring is told: `/metrics` and `/healthz` |
//! | [`vault`], [`aws`], [`http`] | the services under signers, keys and stores |
//! | [`check`], [`new_key`], [`keys`] | the other commands: `check-config`; `new-key`; `enrol` and `rewrap` |
//! | [`secret_file`], [`trouble`] | secrets in files; why something did not work, and whether asking again may help |
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

pub mod aws;
mod beside;
pub mod check;
pub mod cli;
pub mod config;
pub mod database;
pub mod http;
pub mod kek;
pub mod keys;
pub mod logs;
mod metrics;
pub mod new_key;
pub mod outbox;
mod reencrypt;
pub mod rotate;
pub mod round;
pub mod run;
pub mod secret_file;
pub mod signer;
pub mod step;
pub mod stop;
pub mod store;
mod task;
pub mod trouble;
pub mod unlock;
pub mod vault;
