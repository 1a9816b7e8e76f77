//! Lines that people read.

use std::io::{self, Write};

use moorline_actor::ServiceId;

/// Writes a service's line to standard output, in one piece: lines of two services do not mix.
pub(crate) fn log(service: ServiceId, text: &[u8]) {
    let mut line = format!("[{service}] ").into_bytes();
    line.extend_from_slice(text);
    print_line(line);
}

/// Writes a line to standard output in one piece.
pub(crate) fn print_line(mut line: Vec<u8>) {
    line.push(b'\n');
    let mut output = io::stdout().lock();
    // Nobody reads, and there is nowhere to say so.
    let _ = output.write_all(&line).and_then(|()| output.flush());
}
