//! The queue between the threads that log and the one that writes.
//!
//! A reader of the log that stalls must not stop the service: a line that does not fit is dropped and counted. While
//! the reader keeps up, a line of the level `info` or above is written before the call returns, so that it is not lost
//! if a driver then crashes the process. Once such a line is not written within [`PROMPT`], no thread waits until the
//! queue is empty again.
//!
//! This is not `tracing-appender`: that prints to standard output itself when its queue
//! is full at the end of the process, which then never ends, and it bounds its queue by lines, whose length has no bound.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, mpsc};
use std::thread;
use std::time::Duration;

use prometheus::IntCounter;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Bytes that may be queued: thousands of lines, more than a start or a fault writes at once.
const CAPACITY: usize = 1 << 20;

/// How long a thread waits for its line to be written.
const PROMPT: Duration = Duration::from_millis(100);

/// There is one for the process, as there is one log.
static LOST: LazyLock<IntCounter> = LazyLock::new(|| {
    IntCounter::new(
        "atto_work_log_lines_lost_total",
        "Log lines that were dropped, since the log was not read fast enough or could not be written.",
    )
    .expect("the name is well formed")
});

/// The counter of lines that were dropped.
pub(in crate::telemetry) fn lost_lines() -> IntCounter {
    LOST.clone()
}

/// A clone is the same queue.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    messages: mpsc::Sender<Message>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes of the queued lines.
    queued: AtomicUsize,
    /// Whether the reader does not keep up. Then no thread waits for it.
    is_stalled: AtomicBool,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Answered once all lines before it are written.
    Flush(mpsc::Sender<()>),
}

impl Queue {
    /// A queue whose lines a thread of its own writes to `output`.
    pub(super) fn start(output: impl Write + Send + 'static) -> io::Result<Self> {
        let (messages, received) = mpsc::channel();
        let state = Arc::new(State::default());
        let queue = Self {
            messages,
            state: Arc::clone(&state),
        };
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write(output, &received, &state))?;
        Ok(queue)
    }

    fn push(&self, line: &[u8]) {
        let before = self.state.queued.fetch_add(line.len(), Ordering::Relaxed);
        let has_room = before.saturating_add(line.len()) <= CAPACITY;
        if !has_room || self.messages.send(Message::Line(line.to_vec())).is_err() {
            self.state.queued.fetch_sub(line.len(), Ordering::Relaxed);
            LOST.inc();
        }
    }

    /// Waits until the lines that are queued now are written, or for `limit`. Whether they were written.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let (written, wait) = mpsc::channel();
        let asked = self.messages.send(Message::Flush(written));
        asked.is_ok() && wait.recv_timeout(limit).is_ok()
    }

    fn wait_for_last(&self) {
        let is_stalled = &self.state.is_stalled;
        if !is_stalled.load(Ordering::Relaxed) && !self.flush(PROMPT) {
            is_stalled.store(true, Ordering::Relaxed);
        }
    }
}

fn write(mut output: impl Write, messages: &mpsc::Receiver<Message>, state: &State) {
    let mut told = 0;
    for message in messages {
        match message {
            Message::Line(line) => {
                let written = output.write_all(&line).and_then(|()| output.flush());
                let before = state.queued.fetch_sub(line.len(), Ordering::Relaxed);
                if written.is_err() {
                    LOST.inc();
                    continue;
                }
                let lost = LOST.get();
                if lost > told {
                    // This thread must not wait for itself.
                    state.is_stalled.store(true, Ordering::Relaxed);
                    tracing::warn!(lines = lost - told, "log lines were lost");
                    told = lost;
                } else if before == line.len() {
                    state.is_stalled.store(false, Ordering::Relaxed);
                }
            }
            Message::Flush(written) => {
                let _ = written.send(());
            }
        }
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Pusher<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Pusher {
            queue: self,
            waits: false,
        }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Self::Writer {
        Pusher {
            queue: self,
            waits: *event.level() <= Level::INFO,
        }
    }
}

/// Queues lines of an event. Each write is a whole line: that is how the layer of `tracing-subscriber` writes.
#[derive(Debug)]
pub(super) struct Pusher<'a> {
    queue: &'a Queue,
    waits: bool,
}

impl Write for Pusher<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.queue.push(line);
        if self.waits {
            self.queue.wait_for_last();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A write blocks while a test holds the lock.
    #[derive(Clone, Debug, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_written_in_order() {
        let output = Output::default();
        let queue = Queue::start(output.clone()).unwrap();
        for line in ["one\n", "two\n", "three\n"] {
            queue.push(line.as_bytes());
        }
        assert!(queue.flush(Duration::from_secs(60)));
        assert_eq!(*output.0.lock().unwrap(), b"one\ntwo\nthree\n");
    }

    #[test]
    fn an_info_line_is_written_when_the_call_returns() {
        let output = Output::default();
        let queue = Queue::start(output.clone()).unwrap();
        let mut pusher = Pusher {
            queue: &queue,
            waits: true,
        };
        let stalled = output.0.lock().unwrap();
        pusher.write_all(b"one\n").unwrap();
        assert!(queue.state.is_stalled.load(Ordering::Relaxed));
        // No thread waits now.
        pusher.write_all(b"two\n").unwrap();
        drop(stalled);
        assert!(queue.flush(Duration::from_secs(60)));
        assert!(!queue.state.is_stalled.load(Ordering::Relaxed));
        for number in 0..100 {
            pusher.write_all(b"x\n").unwrap();
            let length = b"one\ntwo\n".len() + 2 * (number + 1);
            // The machine may have been too busy for that once.
            if !queue.state.is_stalled.load(Ordering::Relaxed) {
                assert_eq!(output.0.lock().unwrap().len(), length);
            }
        }
    }

    #[test]
    fn a_reader_that_stalls_costs_lines_and_no_wait() {
        let output = Output::default();
        let queue = Queue::start(output.clone()).unwrap();
        let line = [b'x'; 1024];
        let before = LOST.get();
        let stalled = output.0.lock().unwrap();
        for _ in 0..CAPACITY / line.len() + 100 {
            queue.push(&line);
        }
        // The flush gives up, too.
        assert!(!queue.flush(Duration::from_millis(10)));
        assert!(LOST.get() >= before + 100);
        assert!(queue.state.queued.load(Ordering::Relaxed) <= CAPACITY);
        drop(stalled);
        assert!(queue.flush(Duration::from_secs(60)));
        assert_eq!(queue.state.queued.load(Ordering::Relaxed), 0);
        let written = output.0.lock().unwrap().len();
        assert!(
            written <= CAPACITY && written % line.len() == 0,
            "{written}"
        );
    }

    #[test]
    fn an_output_that_is_gone_costs_lines_only() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let queue = Queue::start(Gone).unwrap();
        let before = LOST.get();
        queue.push(b"one\n");
        assert!(queue.flush(Duration::from_secs(60)));
        assert!(LOST.get() > before);
        assert_eq!(queue.state.queued.load(Ordering::Relaxed), 0);
    }
}
