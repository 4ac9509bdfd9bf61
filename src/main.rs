//! The `work-server` command; all of it is in the library.

use std::process::ExitCode;

/// Its own thread returns unused memory to the system, some ten seconds after it was last used.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    atto_work_server::cli::run(std::env::args_os())
}
