//! A stream of PostgreSQL messages that ends with an error at the first one that is too large.
//!
//! The client library keeps a message in memory until all of it is there, and its length is whatever the server says.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

/// Twenty times the largest answer that an honest server has for us: ten thousand salts.
pub const MAX_MESSAGE_BYTES: u32 = 4 << 20;

/// A letter, and the length of what follows, its own four bytes included.
const HEADER_BYTES: usize = 5;

pub struct Bounded<S> {
    stream: S,
    frames: Frames,
}

impl<S> Bounded<S> {
    pub fn new(stream: S) -> Self {
        let frames = Frames::default();
        Self { stream, frames }
    }
}

/// Where in the stream of messages we are.
#[derive(Default)]
struct Frames {
    header: [u8; HEADER_BYTES],
    header_bytes: usize,
    body_bytes_left: usize,
}

impl Frames {
    fn follow(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some((first, rest)) = bytes.split_first() {
            if self.body_bytes_left > 0 {
                let skipped = self.body_bytes_left.min(bytes.len());
                self.body_bytes_left -= skipped;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            if let Some(place) = self.header.get_mut(self.header_bytes) {
                *place = *first;
            }
            self.header_bytes += 1;
            bytes = rest;
            if self.header_bytes == HEADER_BYTES {
                self.header_bytes = 0;
                let [_, a, b, c, d] = self.header;
                self.body_bytes_left = match u32::from_be_bytes([a, b, c, d]) {
                    length @ 4..=MAX_MESSAGE_BYTES => (length - 4) as usize,
                    _ => return Err(io::Error::other("a message of the server is too large")),
                };
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let new = buffer.filled().get(before..).unwrap_or_default();
        Poll::Ready(self.frames.follow(new))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// No channel binding: the server's certificate is verified whatever the password says.
impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Bounded<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u32, body: usize) -> Vec<u8> {
        let mut bytes = vec![b'D'];
        bytes.extend(length.to_be_bytes());
        bytes.extend(vec![0xff; body]);
        bytes
    }

    #[test]
    fn messages_pass_however_they_are_cut() {
        let stream = [message(4, 0), message(304, 300), message(5, 1)].concat();
        for piece in [1, 2, 3, 7, 309, stream.len()] {
            let mut frames = Frames::default();
            for bytes in stream.chunks(piece) {
                frames.follow(bytes).unwrap();
            }
            assert_eq!((frames.header_bytes, frames.body_bytes_left), (0, 0));
        }
    }

    #[test]
    fn a_message_too_large_ends_the_stream_at_its_header() {
        for length in [0, 3, MAX_MESSAGE_BYTES + 1, 1 << 31, u32::MAX] {
            let mut frames = Frames::default();
            frames.follow(&message(8, 4)).unwrap();
            assert!(frames.follow(&message(length, 0)).is_err(), "{length}");
        }
        assert!(
            Frames::default()
                .follow(&message(MAX_MESSAGE_BYTES, 0))
                .is_ok()
        );
    }
}
