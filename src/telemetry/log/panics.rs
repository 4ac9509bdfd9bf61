//! Panics as log lines.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io;
use std::panic;
use std::process;
use std::thread;

use rustix::io::Errno;

use super::FLUSH;
use super::queue::Queue;

/// What to do where the system refuses a thread.
pub const MORE_THREADS: &str = "raise the limit of threads and processes: `ulimit -u`, --pids-limit of a container, pids.max \
     of its cgroup, TasksMax= of systemd";

/// The exit code after a panic of the main thread: that of every failure.
const FAILURE: i32 = 1;

/// Logs each panic as one line, with a backtrace if `RUST_BACKTRACE` asks for one. A panic of the calling thread ends the
/// process: unwinding would drop the runtime, which waits for its threads without a limit.
pub(super) fn log_panics(queue: Queue) {
    let main = thread::current().id();
    let refused = io::Error::from(Errno::AGAIN).to_string();
    panic::set_hook(Box::new(move |panicked| {
        let thread = thread::current();
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
        let text = panicked.payload_as_str().unwrap_or("of an unknown type");
        // Libraries panic where the system refuses them a thread.
        let advice = text.contains(&refused).then_some(MORE_THREADS);
        tracing::error!(
            thread = thread.name(),
            location = panicked.location().map(tracing::field::display),
            backtrace = backtrace.as_ref().map(tracing::field::display),
            advice,
            "panic: {text}"
        );
        if thread.id() == main {
            let _ = queue.flush(FLUSH);
            process::exit(FAILURE);
        }
    }));
}
