//! Connecting a datagram socket: the same addresses, options, steps and errors as a dial's.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::attempt::Connected;
use super::error::{ConnectCause, ConnectError, DialFailure};
use super::turn::turn;
use super::{DialOptions, Dialer, attempt, now, settle, unix};
use crate::address::{Address, HostPort};
use crate::timeline::{StepKind, Target, Timeline};

impl Dialer {
    /// Connects to a peer of `udp://`: to the first of its addresses that `connect` can connect to. Takes at most the
    /// deadline. Cancel-safe.
    pub(crate) async fn connect_udp<T>(
        &self,
        peer: &Address,
        target: &HostPort,
        connect: impl FnMut(SocketAddr) -> Result<T, ConnectCause>,
    ) -> Result<(T, Timeline), ConnectError> {
        let mut timeline = Timeline::new(now());
        let opened = {
            let mut opening = pin!(self.open_udp(target, &mut timeline, connect));
            self.in_time(opening.as_mut()).await
        };
        settle(peer, opened, timeline)
    }

    /// Connects to a peer of `unixgram://`. This takes no time: no packet is sent.
    pub(crate) fn connect_unixgram<T>(
        &self,
        peer: &Address,
        path: &Path,
        connect: impl FnOnce(&Path) -> Result<T, ConnectCause>,
    ) -> Result<(T, Timeline), ConnectError> {
        let mut timeline = Timeline::new(now());
        let opened = unix::check(self.options()).and_then(|()| {
            let step = timeline.begin(StepKind::Connect, Target::Unix(path.to_owned()), now());
            let connected = connect(path);
            timeline.end_with(step, &connected, now());
            connected.map_err(|cause| DialFailure::at(StepKind::Connect, cause))
        });
        settle(peer, opened, timeline)
    }

    async fn open_udp<T>(
        &self,
        target: &HostPort,
        timeline: &mut Timeline,
        mut connect: impl FnMut(SocketAddr) -> Result<T, ConnectCause>,
    ) -> Result<T, DialFailure> {
        turn(timeline.started()).await;
        if target.port == 0 {
            return Err(DialFailure::invalid(
                "nothing listens on port 0: write the port that the peer listens on",
            ));
        }
        self.options()
            .check_udp()
            .map_err(|cause| DialFailure { step: None, cause })?;
        let start = |address| connect(address).map(Connected);
        if let Some(address) = self.literal(target)? {
            return attempt::connect(address, timeline, start).await;
        }
        self.reach_name(target, timeline, start).await
    }
}

impl DialOptions {
    /// Refuses a proxy: what it does not carry would leave outside of it.
    pub(crate) fn check_udp(&self) -> Result<(), ConnectCause> {
        match &self.via {
            None => Ok(()),
            Some(_) => Err(ConnectCause::Invalid(
                "the proxy of the option `via` carries streams, and datagrams would leave outside of it: leave `via` out, or write tcp://host:port".into(),
            )),
        }
    }

    /// A UDP socket with the options, not bound yet unless they say so.
    pub(crate) fn udp_socket(&self, family_of: SocketAddr) -> Result<Socket, ConnectCause> {
        let kind = Type::DGRAM.nonblocking().cloexec();
        let domain = Domain::for_address(family_of);
        let socket = Socket::new_raw(domain, kind, Some(Protocol::UDP))?;
        if domain == Domain::IPV6 {
            // As everywhere here: an IPv4 peer needs an IPv4 socket.
            socket.set_only_v6(true)?;
        }
        if self.socket.reuse_address {
            socket.set_reuse_address(true)?;
        }
        self.socket.set_on_unix(&socket)?;
        attempt::bind_interface(&socket, self)?;
        Ok(socket)
    }

    /// Binds to the local address that the options name, if they do.
    pub(crate) fn bind_udp(&self, socket: &Socket) -> Result<(), ConnectCause> {
        match self.bind {
            Some(local) => Ok(socket.bind(&SockAddr::from(local))?),
            None => Ok(()),
        }
    }
}
