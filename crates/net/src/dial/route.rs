//! From a name to a socket: its look-ups and the attempts to its addresses, side by side.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::time::{Sleep, sleep_until};

use super::attempt::Attempt;
use super::error::{ConnectCause, DialFailure};
use super::options::DialOptions;
use super::order::Order;
use super::race::{Next, Race, Rules, Which};
use crate::address::HostPort;
use crate::clock::now;
use crate::resolve::{Families, Lookup, Lookups, ResolveError, Resolver};
use crate::timeline::{Outcome, StepId, StepKind, Target, Timeline};

/// Connects to the first address of a name that answers. `start` begins an attempt to an address.
pub(super) async fn connect<A: Attempt>(
    target: &HostPort,
    options: &DialOptions,
    order: Order,
    resolver: &dyn Resolver,
    timeline: &mut Timeline,
    start: impl FnMut(SocketAddr) -> Result<A, ConnectCause>,
) -> Result<A::Opened, DialFailure> {
    let Some(families) = families(options) else {
        return Err(DialFailure::invalid(
            "the options `family` and `bind` leave no address family: make them agree",
        ));
    };
    let lookups = resolver.look_up(&target.host, families);
    let mut route = Route::new(target, options, order, families, lookups, timeline, start);
    let mut timer = pin!(sleep_until(now().into()));
    poll_fn(|context| route.poll(timer.as_mut(), context)).await
}

/// The look-ups and attempts for one name.
struct Route<'a, A, S> {
    options: &'a DialOptions,
    target: &'a HostPort,
    timeline: &'a mut Timeline,
    race: Race,
    lookups: Vec<(Which, StepId, Lookup)>,
    start: S,
    attempts: Vec<(StepId, A)>,
    /// The weightiest error of the failed look-ups and attempts so far.
    failure: Option<DialFailure>,
}

impl<'a, A, S> Route<'a, A, S>
where
    A: Attempt,
    S: FnMut(SocketAddr) -> Result<A, ConnectCause>,
{
    fn new(
        target: &'a HostPort,
        options: &'a DialOptions,
        order: Order,
        families: Families,
        lookups: Lookups,
        timeline: &'a mut Timeline,
        start: S,
    ) -> Self {
        let lookups = match (lookups, families) {
            (Lookups::Together(both), _) => vec![(Which::Both, both)],
            (Lookups::Apart { ipv6, ipv4 }, Families::Both) => {
                vec![(Which::Ipv6, ipv6), (Which::Ipv4, ipv4)]
            }
            (Lookups::Apart { ipv6, .. }, Families::Ipv6) => vec![(Which::Ipv6, ipv6)],
            (Lookups::Apart { ipv4, .. }, Families::Ipv4) => vec![(Which::Ipv4, ipv4)],
        };
        let awaited = match lookups.as_slice() {
            [(one, _)] => *one,
            _ => Which::Both,
        };
        let name: Arc<str> = target.host.as_str().into();
        let started = now();
        let lookups = lookups
            .into_iter()
            .map(|(which, lookup)| {
                let target = which.asked(Arc::clone(&name));
                let step = timeline.begin(StepKind::Resolve, target, started);
                (which, step, lookup)
            })
            .collect();
        let rules = Rules {
            order,
            attempt_delay: options.attempt_delay,
            resolution_delay: options.resolution_delay,
        };
        Self {
            options,
            target,
            timeline,
            race: Race::new(rules, awaited),
            lookups,
            start,
            attempts: Vec::new(),
            failure: None,
        }
    }

    fn poll(
        &mut self,
        mut timer: Pin<&mut Sleep>,
        context: &mut Context<'_>,
    ) -> Poll<Result<A::Opened, DialFailure>> {
        loop {
            if let Some(opened) = self.poll_attempts(context) {
                return Poll::Ready(Ok(opened));
            }
            self.poll_lookups(context);
            match self.race.next(now()) {
                // A new attempt is polled in the next turn, so that it wakes this task.
                Next::Start(address) => self.start(address),
                Next::WaitUntil(then) => {
                    if timer.deadline().into_std() != then {
                        timer.as_mut().reset(then.into());
                    }
                    if timer.as_mut().poll(context).is_pending() {
                        return Poll::Pending;
                    }
                }
                Next::Wait => return Poll::Pending,
                Next::Exhausted => return Poll::Ready(Err(self.give_up())),
            }
        }
    }

    /// The first one that is connected; the other attempts are dropped then.
    fn poll_attempts(&mut self, context: &mut Context<'_>) -> Option<A::Opened> {
        let mut index = 0;
        while let Some((step, attempt)) = self.attempts.get(index) {
            let step = *step;
            match attempt.poll(context) {
                Poll::Pending => index += 1,
                Poll::Ready(Ok(())) => {
                    let (_, winner) = self.attempts.swap_remove(index);
                    let now = now();
                    self.timeline.end(step, Outcome::Done, None, now);
                    for (other, _) in self.attempts.drain(..) {
                        self.timeline.end(other, Outcome::Cancelled, None, now);
                    }
                    for (_, other, _) in self.lookups.drain(..) {
                        self.timeline.end(other, Outcome::Cancelled, None, now);
                    }
                    return Some(winner.opened());
                }
                Poll::Ready(Err(error)) => {
                    drop(self.attempts.swap_remove(index));
                    self.attempt_failed(step, error.into());
                }
            }
        }
        None
    }

    fn poll_lookups(&mut self, context: &mut Context<'_>) {
        let mut index = 0;
        while let Some((which, step, lookup)) = self.lookups.get_mut(index) {
            let (which, step) = (*which, *step);
            let Poll::Ready(answer) = lookup.as_mut().poll(context) else {
                index += 1;
                continue;
            };
            drop(self.lookups.swap_remove(index));
            let (options, port, now) = (self.options, self.target.port, now());
            let (addresses, outcome) = match answer {
                Ok(answer) => (answer.addresses, Outcome::Done),
                Err(error) => {
                    let outcome = Outcome::Failed(error.to_string());
                    self.note(StepKind::Resolve, ConnectCause::Resolve(error));
                    (Vec::new(), outcome)
                }
            };
            self.timeline.end(step, outcome, None, now);
            let admitted = addresses
                .into_iter()
                .filter(|ip| options.admits(*ip))
                .map(|ip| SocketAddr::new(ip, port));
            let source = |address| source(address, options).ok();
            self.race.answered(which, admitted, source, now);
        }
    }

    fn start(&mut self, address: SocketAddr) {
        let target = Target::Socket(address);
        let step = self.timeline.begin(StepKind::Connect, target, now());
        match (self.start)(address) {
            Ok(attempt) => self.attempts.push((step, attempt)),
            Err(cause) => self.attempt_failed(step, cause),
        }
    }

    fn attempt_failed(&mut self, step: StepId, cause: ConnectCause) {
        let now = now();
        self.timeline.end(step, cause.outcome(), cause.errno(), now);
        self.note(StepKind::Connect, cause);
        self.race.failed(now);
    }

    /// Keeps the weightiest failure: the first of those that came furthest.
    fn note(&mut self, step: StepKind, cause: ConnectCause) {
        let weight = |cause: &ConnectCause| cause.weight();
        if self
            .failure
            .as_ref()
            .is_none_or(|known| weight(&known.cause) < weight(&cause))
        {
            self.failure = Some(DialFailure::at(step, cause));
        }
    }

    fn give_up(&mut self) -> DialFailure {
        self.failure.take().unwrap_or_else(|| {
            // The answer was empty, or had nothing of a family that is admitted.
            let cause = ConnectCause::Resolve(ResolveError::NotFound {
                name: self.target.host.clone(),
                ttl: None,
            });
            DialFailure::at(StepKind::Resolve, cause)
        })
    }
}

impl Which {
    /// The question about `name`.
    pub(super) fn asked(self, name: Arc<str>) -> Target {
        let record = match self {
            Self::Both => return Target::Name(name),
            Self::Ipv6 => "AAAA",
            Self::Ipv4 => "A",
        };
        Target::Addresses { name, record }
    }
}

/// The families that the options leave. `None` if they contradict each other.
pub(super) fn families(options: &DialOptions) -> Option<Families> {
    let ipv6 = options.admits_ipv6();
    let ipv4 = options.admits_ipv4();
    match (ipv6, ipv4) {
        (true, true) => Some(Families::Both),
        (true, false) => Some(Families::Ipv6),
        (false, true) => Some(Families::Ipv4),
        (false, false) => None,
    }
}

/// The local address that the kernel would send from. Connecting a datagram socket sends nothing.
fn source(address: SocketAddr, options: &DialOptions) -> io::Result<IpAddr> {
    if let Some(local) = options.bind {
        return Ok(local.ip());
    }
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new_raw(Domain::for_address(address), kind, Some(Protocol::UDP))?;
    if let Some(interface) = &options.interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    socket.connect(&SockAddr::from(address))?;
    let local = socket.local_addr()?.as_socket();
    local
        .map(|local| local.ip())
        .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}
