//! Signals that only the supervisor handles.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Removes their default action, which ends the process. A user who sends them by the program's name means the engine.
/// The write itself reports that a file has become too large. Needs a runtime.
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
