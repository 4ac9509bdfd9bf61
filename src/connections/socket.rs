//! The socket below hyper. It reports to the connection's [`Activity`], gives hyper one request at a time, and reads ahead
//! to notice that a client has disconnected.

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
    /// While hyper answers an HTTP/1.1 request, it is given no further bytes, and so would not notice that no client waits for
    /// the response. Must be polled after hyper, while such a request is in progress. A client that sends more than
    /// [`MAX_HEAD`] bytes ahead is not watched any further.
    pub(super) fn poll_left(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut wire = self.wire();
        let had = wire.ahead.len();
        if wire.poll_ahead(cx).is_ready() {
            return Poll::Ready(());
        }
        if wire.ahead.len() > had && self.activity.may_give() {
            // The rest of a body, which hyper waits for.
            cx.waker().wake_by_ref();
        } else if !wire.ahead.is_empty() {
            self.activity.wake_at_end(cx.waker());
        }
        Poll::Pending
    }

    /// Whether the client has sent bytes that hyper does not have yet.
    pub(super) fn is_ahead(&self) -> bool {
        !self.wire().ahead.is_empty()
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

impl Wire {
    /// Reads ahead of hyper, up to [`MAX_HEAD`] bytes. Ready when the client has disconnected; else wakes for what arrives,
    /// as long as there is room.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [0; 1024];
        while self.ahead.len() < MAX_HEAD.into() {
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    self.ahead.extend_from_slice(buffer.filled());
                }
                _ => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut wire = self.wire();
        if !self.activity.may_give() {
            // hyper does not ask again by itself, neither when the request is answered nor when the next one arrives.
            // Nor is it told of the end of the connection: it would drop a complete request that it has not answered.
            // [`Socket::poll_left`] notices the end.
            let left = wire.poll_ahead(cx);
            if left.is_ready() || !wire.ahead.is_empty() {
                self.activity.wake_at_end(cx.waker());
            }
            return Poll::Pending;
        }
        let Wire { stream, ahead } = &mut *wire;
        if ahead.is_empty() {
            let before = buffer.filled().len();
            ready!(Pin::new(stream).poll_read(cx, buffer))?;
            let read = &buffer.filled()[before..];
            let count = self.activity.give(read);
            ahead.extend_from_slice(&read[count..]);
            buffer.set_filled(before + count);
        } else {
            let count = ahead.len().min(buffer.remaining());
            let count = self.activity.give(&ahead[..count]);
            buffer.put_slice(&ahead[..count]);
            ahead.drain(..count);
            if ahead.is_empty() {
                // Gives the memory back, since most connections never read ahead again.
                *ahead = Vec::new();
            }
        }
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
