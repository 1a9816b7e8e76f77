//! A broken build: its gateway lets everything be handed over, and does nothing with it.

use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;

use moorline_engine::control::{FromRole, ToRole};
use moorline_ipc::{Channel, Hello, Packet, inherited};
use moorline_tests::probe::Probe;
use rustix::event::{PollFd, PollFlags, poll};

/// Where the supervisor puts the control channel.
const CONTROL: i32 = 3;

fn main() -> ExitCode {
    let title = std::env::args().next().unwrap_or_default();
    if !title.starts_with("moorline: gateway") {
        return moorline::run(async |context, settings| {
            Probe::new("first", context, settings).await
        });
    }
    match take() {
        Ok(held) => loop {
            std::thread::park();
            std::hint::black_box(&held);
        },
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Says that it can take everything. Returns what it must not close.
fn take() -> io::Result<(Channel, Channel)> {
    let control = Channel::from_fd(inherited(CONTROL)?);
    control.send(&Hello::current(), &[])?;
    poll(&mut [PollFd::new(&control.as_fd(), PollFlags::IN)], None)?;
    let Some(Packet { bytes, fds }) = control.recv()? else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let start = postcard::from_bytes(&bytes).map_err(io::Error::other)?;
    let (ToRole::StartGateway { follows: true, .. }, Some(last)) = (start, fds?.pop()) else {
        return Err(io::Error::other("it follows nobody"));
    };
    let present = Channel::from_fd(last);
    present.send(&moorline_gateway::greeting(), &[])?;
    let waits = postcard::to_stdvec(&FromRole::Waits).map_err(io::Error::other)?;
    control.send(&waits, &[])?;
    Ok((control, present))
}
