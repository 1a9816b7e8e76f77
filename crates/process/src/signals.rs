//! Signals that mean something to the supervisor alone.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Takes their default action, which is to end the process, away for good: whoever sends them by the program's name
/// means the engine, and that a file has become too large is said by the write. Needs a runtime.
pub fn leave_to_supervisor() -> io::Result<()> {
    for kind in [
        SignalKind::interrupt(),
        SignalKind::hangup(),
        SignalKind::pipe(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
        SignalKind::from_raw(nix::libc::SIGXFSZ),
        // The supervisor reopens the log.
        SignalKind::from_raw(nix::libc::SIGRTMIN()),
    ] {
        let _ = signal(kind)?;
    }
    Ok(())
}

/// The same for TERM, for a gateway: it would take all sessions with it. The supervisor ends it by closing its channel.
pub fn leave_term_to_supervisor() -> io::Result<()> {
    signal(SignalKind::terminate()).map(drop)
}
