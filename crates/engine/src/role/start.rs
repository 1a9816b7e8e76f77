//! The start message, received before there is a runtime, and the descriptors beside it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use moorline_ipc::{Channel, Chime, Doorbell, Packet, Scoreboard};
use rustix::event::{PollFd, PollFlags, poll};

use moorline_config::Config;
use moorline_gateway::ListenerStart;
use moorline_process::credentials::Credentials;
use moorline_protocol::control::{PROCESS_BOARD, ToRole, gateway_board};
use moorline_protocol::control_channel::{self, decode};

/// Waits for the next message. `None`: the supervisor is gone.
pub(super) fn receive(
    control: &Channel,
) -> io::Result<Option<(ToRole, control_channel::Descriptors)>> {
    loop {
        match control.recv() {
            Ok(Some(Packet { bytes, fds })) => return Ok(Some((decode(&bytes)?, fds))),
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                match poll(&mut [PollFd::new(&control.as_fd(), PollFlags::IN)], None) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Descriptors in the order in which the start message promises them.
pub(super) struct Descriptors(std::vec::IntoIter<OwnedFd>);

impl Descriptors {
    pub(super) fn new(fds: Vec<OwnedFd>) -> Self {
        Self(fds.into_iter())
    }

    pub(super) fn gateway(
        &mut self,
        config: &Config,
        follows: bool,
    ) -> io::Result<(Scoreboard, Vec<ListenerStart>, Credentials, Option<Channel>)> {
        let loops = usize::from(config.engine.gateway_loops);
        let scoreboard = Scoreboard::map(self.next()?, gateway_board(loops))?;
        let accepting = config.listeners.iter().zip(0..);
        let listeners = accepting
            .filter(|(listener, _)| listener.is_bound())
            .map(|(listener, place)| {
                let socket = self.next()?;
                let folders = listener.routes.folders().map(|_| self.next());
                let folders = folders.collect::<io::Result<_>>()?;
                Ok(ListenerStart {
                    place,
                    socket,
                    folders,
                })
            })
            .collect::<io::Result<_>>()?;
        let credentials = Credentials::open(self.next()?)?;
        let follows = match follows {
            true => Some(Channel::from_fd(self.next()?)),
            false => None,
        };
        Ok((scoreboard, listeners, credentials, follows))
    }

    #[expect(clippy::type_complexity, reason = "taken apart at its only call")]
    pub(super) fn process(
        &mut self,
        config: &Config,
    ) -> io::Result<(Scoreboard, Chime, Vec<(Doorbell, OwnedFd)>, Channel)> {
        let scoreboard = Scoreboard::map(self.next()?, PROCESS_BOARD)?;
        let chime = Chime::from_fd(self.next()?);
        let loops = (0..config.engine.gateway_loops)
            .map(|_| Ok((Doorbell::from_fd(self.next()?), self.next()?)))
            .collect::<io::Result<_>>()?;
        let files = Channel::from_fd(self.next()?);
        Ok((scoreboard, chime, loops, files))
    }

    fn next(&mut self) -> io::Result<OwnedFd> {
        self.0.next().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "the start message lacks descriptors",
            )
        })
    }
}
