//! Panics as log lines.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic;
use std::process;
use std::thread;

use super::FLUSH;
use super::queue::Queue;

/// The exit code after a panic of the main thread: that of every failure.
const FAILURE: i32 = 1;

/// Logs each panic as one line, with a backtrace if `RUST_BACKTRACE` asks for one. A panic of the calling thread ends the
/// process: unwinding it would wait for the runtime's threads, which may have nobody left to stop them.
pub(super) fn log_panics(queue: Queue) {
    let main = thread::current().id();
    panic::set_hook(Box::new(move |panicked| {
        let thread = thread::current();
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
        tracing::error!(
            thread = thread.name(),
            location = panicked.location().map(tracing::field::display),
            backtrace = backtrace.as_ref().map(tracing::field::display),
            "panic: {}",
            panicked.payload_as_str().unwrap_or("of an unknown type")
        );
        if thread.id() == main {
            let _ = queue.flush(FLUSH);
            process::exit(FAILURE);
        }
    }));
}
