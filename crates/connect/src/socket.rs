//! The way to the server: a Unix socket at which the right user listens, or TCP with or without TLS.

use std::fmt;
use std::io;

use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::config::{Host, SslMode};

use super::bounded::Bounded;
use super::options::Options;
use super::tls::Tls;
use super::{Failure, Unopened};

/// Connected, and nothing said yet.
pub enum Socket {
    Unix(Bounded<UnixStream>),
    Tcp(Bounded<TcpStream>),
    Tls(TcpStream, Tls),
}

/// Connects, and says whether the session has to ask for TLS.
pub async fn open(options: &Options) -> Result<(Socket, SslMode), Unopened> {
    let port = options.config.get_ports().first().copied().unwrap_or(5432);
    match options.config.get_hosts() {
        [Host::Unix(directory)] => {
            let path = directory.join(format!(".s.PGSQL.{port}"));
            let socket = UnixStream::connect(&path).await;
            let socket = socket.map_err(|error| unreachable(&path.display(), &error))?;
            known(&socket, options.server_uid)?;
            Ok((Socket::Unix(Bounded::new(socket)), SslMode::Disable))
        }
        [Host::Tcp(name)] => {
            let socket = match options.config.get_hostaddrs() {
                [] => TcpStream::connect((name.as_str(), port)).await,
                [address] => TcpStream::connect((*address, port)).await,
                _ => return Err(Failure::from("name one server").into()),
            };
            let socket =
                socket.map_err(|error| unreachable(&format!("{name} port {port}"), &error))?;
            Ok(match &options.tls {
                None => (Socket::Tcp(Bounded::new(socket)), SslMode::Disable),
                Some(files) => (
                    Socket::Tls(socket, Tls::new(files, name)?),
                    SslMode::Require,
                ),
            })
        }
        _ => Err(Failure::from("name one server").into()),
    }
}

/// Whoever may make a socket of that name can be the server, but not run as another user. The system notes who listens when he begins to.
fn known(socket: &UnixStream, server: Option<u32>) -> Result<(), Unopened> {
    let Some(server) = server else {
        return Ok(());
    };
    let listens = socket.peer_cred().map(|peer| peer.uid());
    if listens.as_ref().is_ok_and(|uid| *uid == server) {
        return Ok(());
    }
    let listens = listens.map_or_else(|_| "an unknown user".into(), |uid| format!("user {uid}"));
    let text = format!(
        "at the server's socket listens {listens}, and not user {server} of the operating system"
    );
    Err(Unopened::Stranger(Failure(text)))
}

fn unreachable(at: &dyn fmt::Display, error: &io::Error) -> Failure {
    Failure(format!("the server cannot be reached at {at}: {error}"))
}
