//! The connection under SMTP. Whoever is between us and the server can say anything before TLS begins, so two things are seen to here.
//!
//! A line at a time: the SMTP client reads ahead, and what it had read before TLS began it would take for an answer that came under TLS. So whoever
//! appends a made-up "250 taken" to the answer to STARTTLS could have us believe that a notice was delivered. What is left in the socket
//! instead goes to TLS, which is not pleased.
//!
//! No more than so many bytes: the client reads a line to its end, and a line without an end would fill our memory.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::Error;
use lettre::transport::smtp::client::{AsyncTokioStream, TlsParameters};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Everything that a server says in a connection, its certificates included.
const MOST_BYTES: usize = 1 << 18;
const MOST_AT_ONCE: usize = 1024;

/// A plain connection.
#[derive(Debug)]
pub struct Lines {
    socket: TcpStream,
    taken: usize,
}

impl Lines {
    pub fn new(socket: TcpStream) -> Self {
        Self { socket, taken: 0 }
    }
}

impl AsyncRead for Lines {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = [0; MOST_AT_ONCE];
        let room = buffer.remaining().min(MOST_AT_ONCE);
        let mut ahead = ReadBuf::new(bytes.get_mut(..room).unwrap_or_default());
        let seen = ready!(self.socket.poll_peek(context, &mut ahead))?;
        let line = ahead.filled().iter().position(|byte| *byte == b'\n');
        let length = line.map_or(seen, |end| end + 1);
        self.taken += length;
        if self.taken > MOST_BYTES {
            let text = "the server says more than there is to say";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
        }
        let mut part = ReadBuf::new(bytes.get_mut(..length).unwrap_or_default());
        ready!(Pin::new(&mut self.socket).poll_read(context, &mut part))?;
        buffer.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Lines {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

impl AsyncTokioStream for Lines {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }
}

/// A connection that begins with TLS. The client would make one by itself, but over a socket of its own, which nothing bounds.
#[derive(Debug)]
#[allow(deprecated)] // The type is public by mistake, says its library, which has no other way to put TLS over a given stream.
pub struct Secured(lettre::transport::smtp::client::AsyncNetworkStream);

#[allow(deprecated)]
impl Secured {
    pub async fn new(lines: Lines, tls: TlsParameters) -> Result<Self, Error> {
        use lettre::transport::smtp::client::AsyncNetworkStream;
        let mut stream = AsyncNetworkStream::use_existing_tokio1(Box::new(lines));
        stream.upgrade_tls(tls).await?;
        Ok(Self(stream))
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.initialize_unfilled();
        let read = futures_io::AsyncRead::poll_read(Pin::new(&mut self.0), context, room);
        let read = ready!(read)?;
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        futures_io::AsyncWrite::poll_write(Pin::new(&mut self.0), context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        futures_io::AsyncWrite::poll_flush(Pin::new(&mut self.0), context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        futures_io::AsyncWrite::poll_close(Pin::new(&mut self.0), context)
    }
}

impl AsyncTokioStream for Secured {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }
}
