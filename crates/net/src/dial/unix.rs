//! Connecting to a Unix socket.

use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixStream;

use super::error::{ConnectCause, DialFailure};
use super::options::DialOptions;
use crate::clock::now;
use crate::timeline::{StepKind, Target, Timeline};

/// The first pause before a full backlog is tried again: about the time in which a busy listener accepts.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// The longest one: ten thousand that wait for one listener are then a few percent of a CPU.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Connects to the socket at `path`; an abstract one begins with a NUL byte.
pub(super) async fn connect(
    path: &Path,
    options: &DialOptions,
    timeline: &mut Timeline,
) -> Result<UnixStream, DialFailure> {
    check(options)?;
    let step = timeline.begin(StepKind::Connect, Target::Unix(path.to_owned()), now());
    let connected = attempt(path, options).await;
    timeline.end_with(step, &connected, now());
    connected.map_err(|cause| DialFailure::at(StepKind::Connect, cause))
}

/// Refuses options that would be ignored.
pub(super) fn check(options: &DialOptions) -> Result<(), DialFailure> {
    if options.via.is_some() || options.bind.is_some() || options.interface.is_some() {
        return Err(DialFailure::invalid(
            "the options `via`, `bind` and `interface` have no meaning for a Unix socket: leave them out",
        ));
    }
    Ok(())
}

async fn attempt(path: &Path, options: &DialOptions) -> Result<UnixStream, ConnectCause> {
    let address = SockAddr::unix(path)
        .map_err(|_| ConnectCause::Invalid("the path of the Unix socket is too long".into()))?;
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new_raw(Domain::UNIX, kind, None)?;
    options.socket.set_on_unix(&socket)?;
    let mut pause = FIRST_PAUSE;
    loop {
        let Err(error) = socket.connect(&address) else {
            return Ok(UnixStream::from_std(socket.into())?);
        };
        match Errno::from_io_error(&error) {
            Some(Errno::INTR) => {}
            // The backlog is full. No poll tells when it has room again; the dial's deadline ends this.
            Some(Errno::AGAIN) => {
                // Randomised, so that dials that began together do not retry together.
                tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            _ => return Err(error.into()),
        }
    }
}
