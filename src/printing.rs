//! What commands print on standard output and standard error.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};

use crate::{Exit, Failure};

/// Prints a text on standard output. A reader that has gone, such as `head`, is no error: it has what it wanted.
///
/// # Errors
/// If standard output takes no more, because its disk is full.
pub(crate) fn print(text: impl Display) -> Result<(), Failure> {
    match write(text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(refused(&error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The same for whoever stops when the reader has gone.
///
/// # Errors
/// What the system says.
pub(crate) fn write(text: impl Display) -> io::Result<()> {
    // Whole, so that lines of the log do not come between.
    let text = text.to_string();
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

/// Prints a line on standard error. If that takes none, there is nobody to tell.
pub fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Standard output takes no more.
#[must_use]
pub fn refused(error: &io::Error) -> Failure {
    Failure::definite(
        Exit::Unavailable,
        format!("cannot write to standard output: {error}"),
        "make room where it goes to, or let it go elsewhere",
    )
}
