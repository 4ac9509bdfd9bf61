//! The socket below hyper: it keeps the connection's [`Pulse`], and reads ahead to see a client leave.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::MAX_HEAD;
use super::pulse::Pulse;

/// A socket that hyper and the connection's task share. A clone is the same one.
#[derive(Clone, Debug)]
pub(super) struct Socket {
    wire: Arc<Mutex<Wire>>,
    pulse: Pulse,
}

#[derive(Debug)]
struct Wire {
    stream: TcpStream,
    /// What was read before hyper wanted it.
    ahead: Vec<u8>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, pulse: Pulse) -> Self {
        let ahead = Vec::new();
        Self {
            wire: Arc::new(Mutex::new(Wire { stream, ahead })),
            pulse,
        }
    }

    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready when the client has left.
    ///
    /// hyper reads no further than to a second request while it answers the first, and so would not see that
    /// nobody waits for the answer. To be called after hyper has had its turn, while a request of HTTP/1.1 is in
    /// progress. A client that sends more than [`MAX_HEAD`] bytes ahead is not watched any further.
    pub(super) fn poll_left(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut wire = self.wire();
        let Wire { stream, ahead } = &mut *wire;
        let mut bytes = [0; 1024];
        while ahead.len() < MAX_HEAD.into() {
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => ahead.extend_from_slice(buffer.filled()),
                _ => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    /// Sends no more, then reads and forgets what still comes, until the client has closed too: with bytes that nobody
    /// has read, the system would reset the connection, and the client might lose the answer.
    pub(super) async fn linger(&self) {
        std::future::poll_fn(|cx| {
            let mut wire = self.wire();
            // Once more does no harm, and the only failure is a client that has gone.
            let _ = Pin::new(&mut wire.stream).poll_shutdown(cx);
            let mut bytes = [0; 1024];
            loop {
                let mut buffer = ReadBuf::new(&mut bytes);
                let read = ready!(Pin::new(&mut wire.stream).poll_read(cx, &mut buffer));
                if read.is_err() || buffer.filled().is_empty() {
                    return Poll::Ready(());
                }
            }
        })
        .await;
    }

    fn note<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.pulse.wrote(written.is_ready());
        written
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let mut wire = self.wire();
        if wire.ahead.is_empty() {
            ready!(Pin::new(&mut wire.stream).poll_read(cx, buffer))?;
        } else {
            let count = wire.ahead.len().min(buffer.remaining());
            buffer.put_slice(&wire.ahead[..count]);
            wire.ahead.drain(..count);
            if wire.ahead.is_empty() {
                // Most connections never need it again.
                wire.ahead = Vec::new();
            }
        }
        drop(wire);
        self.pulse.read(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.wire().stream).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.wire().stream).poll_write_vectored(cx, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire().stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire().stream).poll_shutdown(cx)
    }
}
