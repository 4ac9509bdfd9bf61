//! Lines of commands.

use std::fmt::Display;
use std::io::{self, Write};

/// Writes a line to standard error. If that fails, the exit code still tells.
pub(super) fn complain(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Writes a line to standard output.
pub(super) fn print(line: impl Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}
