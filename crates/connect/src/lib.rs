//! A connection to a database that is not trusted: over a Unix socket, or TLS with a verified server certificate, and never a
//! message larger than 4 MiB. What `identityctl` and `anchor-worker` share.
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

mod bounded;
mod options;
mod socket;
mod tls;

use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls};

pub use options::Options;
use socket::Socket;

/// How long connecting may take, unless `connect_timeout` says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why something could not be looked at. The text is for people; it may hold what a server said.
#[derive(Debug)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl From<&'static str> for Failure {
    fn from(text: &'static str) -> Self {
        Self(text.into())
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        use std::error::Error as _;
        let Some(answer) = error.as_db_error() else {
            let cause = error.source().map(|cause| format!(": {cause}"));
            return Self(format!("{error}{}", cause.unwrap_or_default()));
        };
        let detail = answer.detail().map(|detail| format!(" ({detail})"));
        let (code, message) = (answer.code().code(), answer.message());
        let hint = match *answer.code() {
            SqlState::INSUFFICIENT_PRIVILEGE => {
                "; the login of an audit needs BYPASSRLS, identity_auditor, and SELECT on the log and the ledger's tables"
            }
            _ => "",
        };
        Self(format!(
            "the server refused with {code}: {message}{}{hint}",
            detail.unwrap_or_default()
        ))
    }
}

/// Why there is no session.
#[derive(Debug)]
pub enum Unopened {
    /// At the socket listens another user of the operating system than the one that was named: nothing was said to it.
    Stranger(Failure),
    Failed(Failure),
}

impl Unopened {
    /// In words.
    #[must_use]
    pub fn failure(self) -> Failure {
        let (Self::Stranger(failure) | Self::Failed(failure)) = self;
        failure
    }
}

impl From<Failure> for Unopened {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<tokio_postgres::Error> for Unopened {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// A session, and the task that works on its connection.
pub struct Session {
    pub client: Client,
    connection: JoinHandle<Result<(), tokio_postgres::Error>>,
}

impl Session {
    /// Says goodbye, so that the server need not wonder where we went. If the connection broke, this knows why: what was under way
    /// then only knows that it did.
    pub async fn close(self) -> Result<(), Failure> {
        drop(self.client);
        match tokio::time::timeout(CLOSE_TIMEOUT, self.connection).await {
            Ok(Ok(Err(error))) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Cuts the connection, whatever is under way. With `client_connection_check_interval` set the server notices, and ends the session.
    pub fn abandon(self) {
        self.connection.abort();
    }
}

/// Opens a session, which begins with `settings`: SQL that closes it to whatever its user does not mean to do.
pub async fn open(options: &Options, settings: &str) -> Result<Session, Failure> {
    let opened = open_waking(options, settings, Arc::default()).await;
    opened.map_err(Unopened::failure)
}

/// The same, and `wake` is told of each notification (of whatever the settings LISTEN to) and of the end of the connection.
pub async fn open_waking(
    options: &Options,
    settings: &str,
    wake: Arc<Notify>,
) -> Result<Session, Unopened> {
    let limit = options.config.get_connect_timeout();
    let limit = limit.copied().unwrap_or(CONNECT_TIMEOUT);
    let session = tokio::time::timeout(limit, connect(options, wake))
        .await
        .map_err(|_| Failure::from("connecting took too long"))??;
    session.client.batch_execute(settings).await?;
    Ok(session)
}

async fn connect(options: &Options, wake: Arc<Notify>) -> Result<Session, Unopened> {
    let mut config = options.config.clone();
    let (socket, mode) = socket::open(options).await?;
    config.ssl_mode(mode);
    Ok(match socket {
        Socket::Unix(socket) => start(config.connect_raw(socket, NoTls), wake).await?,
        Socket::Tcp(socket) => start(config.connect_raw(socket, NoTls), wake).await?,
        Socket::Tls(socket, tls) => start(config.connect_raw(socket, tls), wake).await?,
    })
}

/// The connection is worked on by a task of its own for as long as its client lives.
async fn start<S, T>(
    connecting: impl Future<Output = Result<(Client, Connection<S, T>), tokio_postgres::Error>>,
    wake: Arc<Notify>,
) -> Result<Session, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, connection) = connecting.await?;
    let connection = tokio::spawn(work(connection, wake));
    Ok(Session { client, connection })
}

async fn work<S, T>(
    mut connection: Connection<S, T>,
    wake: Arc<Notify>,
) -> Result<(), tokio_postgres::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let end = loop {
        match poll_fn(|context| connection.poll_message(context)).await {
            Some(Ok(AsyncMessage::Notification(_))) => wake.notify_one(),
            Some(Ok(_)) => {}
            Some(Err(error)) => break Err(error),
            None => break Ok(()),
        }
    };
    // The client knows that it is closed before whoever waits is told.
    drop(connection);
    wake.notify_one();
    end
}
