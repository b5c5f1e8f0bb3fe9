//! `anchor-worker`: the companion process of identity_pgx. It brings the keys from a key service, signs checkpoints and anchors them where nobody
//! can take them back.
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
pub mod check;
pub mod cli;
pub mod config;
pub mod database;
pub mod http;
pub mod kek;
pub mod keys;
pub mod logs;
pub mod new_key;
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
