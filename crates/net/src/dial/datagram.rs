//! Whom a datagram socket is to talk to, and how it is set up: the same addresses, options and errors as a dial's.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::error::{ConnectCause, ConnectError, Failure};
use super::options::Family;
use super::race::Which;
use super::timeline::{Outcome, StepKind, Timeline};
use super::{DialOptions, Dialer, attempt, literal, now, route};
use crate::address::HostPort;
use crate::resolve::{self, Lookup, Lookups};

impl Dialer {
    /// The addresses of a host that the options admit, the preferred family first, within the deadline.
    pub(crate) async fn addresses(
        &self,
        target: &HostPort,
    ) -> Result<(Vec<SocketAddr>, Timeline), ConnectError> {
        let mut timeline = Timeline::new(now());
        let deadline = self.options().deadline;
        let found = tokio::time::timeout(deadline, self.find(target, &mut timeline)).await;
        let failure = match found {
            Ok(Ok(addresses)) => return Ok((addresses, timeline)),
            Ok(Err(failure)) => failure,
            Err(_) => Failure::at(StepKind::Resolve, ConnectCause::Timeout),
        };
        let outcome = match &failure.cause {
            ConnectCause::Timeout => Outcome::TimedOut,
            cause => Outcome::Failed(cause.to_string()),
        };
        timeline.finish(outcome.clone(), &outcome, now());
        let Failure { step, cause } = failure;
        Err(ConnectError::new(
            format!("udp://{target}"),
            step,
            cause,
            timeline,
        ))
    }

    async fn find(
        &self,
        target: &HostPort,
        timeline: &mut Timeline,
    ) -> Result<Vec<SocketAddr>, Failure> {
        if target.port == 0 {
            return Err(Failure::invalid(
                "port 0 is nobody's: write the peer's port",
            ));
        }
        let families = route::families(self.options()).ok_or_else(|| {
            Failure::invalid(
                "the options `family` and `bind` leave no address family: make them agree",
            )
        })?;
        if let Some(address) = literal(target)? {
            return Ok(vec![address]);
        }
        let resolver = self.resolver.as_deref().unwrap_or(resolve::system());
        let answers = match resolver.look_up(&target.host, families) {
            Lookups::Together(both) => vec![(Which::Both, both)],
            Lookups::Apart { ipv6, ipv4 } => vec![(Which::Ipv6, ipv6), (Which::Ipv4, ipv4)],
        };
        let mut addresses: Vec<IpAddr> = Vec::new();
        let mut failure = None;
        // Together: what one source takes long for, the other may have.
        for answer in answered(target, answers, timeline).await {
            match answer {
                Ok(found) => addresses.extend(found),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        addresses.retain(|ip| self.options().admits(*ip));
        let ipv4_first = self.options().family == Family::PreferIpv4;
        addresses.sort_by_key(|ip| ip.is_ipv4() != ipv4_first);
        match (addresses.is_empty(), failure) {
            (true, Some(cause)) => Err(Failure::at(StepKind::Resolve, cause)),
            (true, None) => Err(Failure::invalid(
                "the name has no address of the family that the options leave",
            )),
            (false, _) => Ok(addresses
                .into_iter()
                .map(|ip| SocketAddr::new(ip, target.port))
                .collect()),
        }
    }
}

async fn answered(
    target: &HostPort,
    lookups: Vec<(Which, Lookup)>,
    timeline: &mut Timeline,
) -> Vec<Result<Vec<IpAddr>, ConnectCause>> {
    let name: Arc<str> = target.host.as_str().into();
    let (steps, lookups): (Vec<_>, Vec<_>) = lookups
        .into_iter()
        .map(|(which, lookup)| {
            let target = which.asked(Arc::clone(&name));
            (timeline.begin(StepKind::Resolve, target, now()), lookup)
        })
        .unzip();
    let answers = futures_util::future::join_all(lookups).await;
    let named = steps.into_iter().zip(answers).map(|(step, answer)| {
        let answer = answer
            .map(|answer| answer.addresses)
            .map_err(ConnectCause::Resolve);
        timeline.end_with(step, &answer, now());
        answer
    });
    named.collect()
}

impl DialOptions {
    /// A UDP socket with the options, not bound yet unless they say so.
    pub(crate) fn udp_socket(&self, family_of: SocketAddr) -> Result<Socket, ConnectCause> {
        let kind = Type::DGRAM.nonblocking().cloexec();
        let domain = Domain::for_address(family_of);
        let socket = Socket::new_raw(domain, kind, Some(Protocol::UDP))?;
        if domain == Domain::IPV6 {
            // As everywhere here: an IPv4 peer is one of an IPv4 socket.
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
