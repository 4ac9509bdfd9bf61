//! The socket below hyper. It reports to the connection's [`Activity`], and reads ahead to notice that a client has
//! disconnected.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::activity::Activity;
use super::limits::MAX_HEAD;

/// A socket that hyper and the connection's task share. A clone is the same socket.
#[derive(Clone, Debug)]
pub(super) struct Socket {
    wire: Arc<Mutex<Wire>>,
    activity: Activity,
}

#[derive(Debug)]
struct Wire {
    stream: TcpStream,
    /// Bytes that were read before hyper asked for them.
    ahead: Vec<u8>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, activity: Activity) -> Self {
        let ahead = Vec::new();
        Self {
            wire: Arc::new(Mutex::new(Wire { stream, ahead })),
            activity,
        }
    }

    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready when the client has disconnected.
    ///
    /// While hyper answers an HTTP/1.1 request, it reads no further than the head of the next, and so would not notice that
    /// nobody waits for the response. Must be polled after hyper, while such a request is in progress. A client that sends
    /// more than [`MAX_HEAD`] bytes ahead is not watched any further.
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

    /// Ends sending, then reads and discards what still arrives until the client has closed too. With unread bytes, the
    /// kernel would reset the connection, and the client might lose the response.
    pub(super) async fn linger(&self) {
        std::future::poll_fn(|cx| {
            let mut wire = self.wire();
            // Doing it again does no harm, and it fails only if the client has gone.
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
        self.activity.wrote(written.is_ready());
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
                // Gives the memory back, since most connections never read ahead again.
                wire.ahead = Vec::new();
            }
        }
        drop(wire);
        self.activity.read(&buffer.filled()[before..]);
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
