//! What commands write to standard output and standard error, which their reader may close at any time.

use std::fmt::Display;
use std::io::{self, BufWriter, Write};

use super::Failure;

/// Writes to standard output. It is no failure if the reader has closed it.
pub(super) fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::failed(error)),
        _ => Ok(()),
    }
}

/// Writes a line to standard output. It is no failure if nobody reads it.
pub(super) fn tell(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Writes a line to standard error, likewise.
pub(super) fn warn(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
