//! What monitoring is told: `/metrics` in Prometheus' text format, and `/healthz`. On a loopback address alone, since whoever asks gets an answer.
//!
//! | file | one job |
//! |---|---|
//! | `own.rs` | the worker's own numbers |
//! | `health.rs` | whether the worker does what it is there for |
//! | `database.rs` | asks the database for its numbers, seldom |
//! | `foreign.rs`, `help.rs` | what of them is let through; what each of them means |
//! | `server.rs` | HTTP |
//!
//! A process has one set of numbers, as it has one log: who counts something needs no more than a line.

mod database;
mod foreign;
mod health;
mod help;
mod own;
mod server;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::config;
use crate::trouble::{Kind, Trouble};
use database::Foreign;

pub(crate) use health::{refused, turned, unlocking};
pub(crate) use own::{alarm, anchored, done, effect, failed, reencrypt, unlocked};

/// The section `[metrics]`. Without it nothing listens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default = "usual")]
    pub listen: SocketAddr,
}

const fn usual() -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9187)
}

impl Config {
    /// Whether nobody but this very machine can ask, and it knows where.
    pub(crate) fn is_local(&self) -> bool {
        self.listen.ip().is_loopback() && self.listen.port() != 0
    }

    /// Takes the address.
    ///
    /// # Errors
    /// `Configuration` if it is not ours to take, `Conflict` if somebody has it.
    pub(crate) async fn bind(&self) -> Result<TcpListener, Trouble> {
        TcpListener::bind(self.listen).await.map_err(|error| {
            let kind = match error.kind() {
                std::io::ErrorKind::AddrInUse => Kind::Conflict,
                _ => Kind::Configuration,
            };
            Trouble::new(kind, format!("{}: {error}", self.listen))
        })
    }
}

/// Tells for as long as it is there.
pub(crate) struct Monitoring([JoinHandle<()>; 2]);

impl Drop for Monitoring {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

/// Begins to tell, if that is configured.
///
/// # Errors
/// As [`Config::bind`].
pub(crate) async fn begin(config: &config::Config) -> Result<Option<Monitoring>, Trouble> {
    let (event, every) = match &config.anchor {
        Some(anchor) => ("anchor", anchor.every),
        None => ("unlock", Duration::ZERO),
    };
    health::begin(event, every);
    let Some(metrics) = &config.metrics else {
        return Ok(None);
    };
    let listener = metrics.bind().await?;
    let (foreign, asking) = Foreign::begin(config.database.clone());
    let serving = server::serve(listener, Arc::new(foreign));
    Ok(Some(Monitoring([
        tokio::spawn(asking),
        tokio::spawn(serving),
    ])))
}
