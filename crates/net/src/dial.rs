//! Opening connections: resolve, race, proxy and TLS handshake, under one deadline.

mod attempt;
mod datagram;
mod error;
mod options;
mod order;
mod race;
mod route;
mod turn;
mod unix;
pub mod via;
mod watch;

use std::io;
use std::net::{SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::sync::Arc;

pub use crate::timeline::{Outcome, Step, StepId, StepKind, Target, Timeline};
pub use error::{ConnectCause, ConnectError};
pub use options::{DialOptions, Family};
pub use watch::watch_dials;

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

use crate::address::{Address, HostPort};
use crate::clock::now;
use crate::connection::{Connection, Stream};
use crate::resolve::{self, Resolver};
use crate::tls::TlsConnector;
use attempt::{Attempt, TcpAttempt};
use error::DialFailure;
use order::Order;
use turn::turn;
use via::Via;

/// Opens connections.
///
/// Cloning is cheap; clones share the resolver and the TLS files that were read.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use moorline_net::{DialOptions, Dialer};
///
/// let dialer = Dialer::new(DialOptions::default());
/// match dialer.connect(&"tls://example.org:443".parse()?).await {
///     Ok(connection) => println!("{}", connection.timeline()),
///     Err(error) => println!("{error}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Dialer {
    shared: Arc<DialerShared>,
    /// Replaces the system's resolver.
    resolver: Option<Arc<dyn Resolver>>,
}

#[derive(Debug)]
struct DialerShared {
    options: DialOptions,
    /// Orders the addresses of a name.
    order: Order,
    /// Made when it is first needed: many dialers never use TLS.
    tls: OnceCell<TlsConnector>,
}

impl Dialer {
    /// A dialer with these options and the system's resolver. The first one in a process reads `/etc/gai.conf`.
    pub fn new(options: DialOptions) -> Self {
        Self {
            shared: Arc::new(DialerShared {
                order: Order::of(options.family),
                options,
                tls: OnceCell::new(),
            }),
            resolver: None,
        }
    }

    /// Names are resolved by this one.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Arc<dyn Resolver>) -> Self {
        self.resolver = Some(resolver);
        self
    }

    /// TLS handshakes use this connector. [`DialOptions::tls`] has no effect then.
    ///
    /// With [`TlsConnector::from_config`] it takes the caller's own configuration:
    ///
    /// ```
    /// # fn example(config: moorline_net::tls::rustls::ClientConfig) {
    /// use std::sync::Arc;
    ///
    /// use moorline_net::tls::TlsConnector;
    /// use moorline_net::{DialOptions, Dialer};
    ///
    /// let connector = TlsConnector::from_config(Arc::new(config));
    /// let dialer = Dialer::new(DialOptions::default()).with_tls(connector);
    /// # }
    /// ```
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, connector: TlsConnector) -> Self {
        self.shared = Arc::new(DialerShared {
            options: self.shared.options.clone(),
            order: self.shared.order,
            tls: OnceCell::new_with(Some(connector)),
        });
        self
    }

    /// Takes over a stream socket that the caller has connected, TCP or Unix, with options of the caller's own.
    /// The timeline is empty then.
    ///
    /// Needs a tokio runtime with I/O; does not block. The socket becomes non-blocking and close-on-exec, and loses an
    /// `SO_LINGER` with which closing it would block.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if it is no stream socket,
    /// [`NotConnected`](io::ErrorKind::NotConnected) if it has no peer. The socket is closed then.
    pub fn from_socket(socket: impl Into<OwnedFd>) -> io::Result<Connection> {
        let socket = Socket::from(socket.into());
        if socket.r#type()? != Type::STREAM {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let domain = socket.peer_addr()?.domain();
        socket.set_nonblocking(true)?;
        socket.set_cloexec(true)?;
        if socket.linger()?.is_some_and(|time| !time.is_zero()) {
            socket.set_linger(None)?;
        }
        let stream = match domain {
            Domain::UNIX => Stream::Unix(UnixStream::from_std(socket.into())?),
            Domain::IPV4 | Domain::IPV6 => Stream::Tcp(TcpStream::from_std(socket.into())?),
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let mut timeline = Timeline::new(now());
        timeline.finish(Outcome::Done, &Outcome::Cancelled, now());
        Ok(Connection::new(stream, timeline))
    }

    /// The options of its dials.
    pub fn options(&self) -> &DialOptions {
        &self.shared.options
    }

    /// Opens a connection to `address`: a stream, so `udp://`, `kcp://` and `unixgram://` are refused.
    /// `http://` and `ws://` are reached like `tcp://`, `https://` and `wss://` like `tls://`.
    ///
    /// A name is resolved, and its addresses are raced (RFC 8305). Everything together takes at most the
    /// options' deadline; a full backlog of a Unix socket is waited for within it. Of thousands whose deadline is the
    /// same instant the last are told when the others are closed.
    ///
    /// With [`DialOptions::via`] the proxy is resolved and raced, and `bind` applies to it; the proxy gets the target's
    /// name.
    ///
    /// Needs a tokio runtime with I/O and time, and does not block it: of thousands of dials that begin in
    /// one instant a few go on at a time, with the loop's other work between them. Cancel-safe: dropping the
    /// future ends every step and leaves no descriptor behind.
    ///
    /// # Errors
    /// [`ConnectError`] tells the step that failed, why, and has the timeline of all steps. If every
    /// address of a name failed, the cause is that of the one that came furthest: a refusal says more than
    /// a missing route.
    pub async fn connect(&self, address: &Address) -> Result<Connection, ConnectError> {
        let mut timeline = Timeline::new(now());
        let opened = {
            let mut opening = pin!(self.open(address, &mut timeline));
            self.in_time(opening.as_mut()).await
        };
        let (stream, timeline) = settle(address, opened, timeline)?;
        Ok(Connection::new(stream, timeline))
    }

    /// Waits for what opens, until the deadline.
    async fn in_time<T>(
        &self,
        opening: Pin<&mut impl Future<Output = Result<T, DialFailure>>>,
    ) -> Result<T, DialFailure> {
        match tokio::time::timeout(self.options().deadline, opening).await {
            Ok(opened) => opened,
            Err(_) => {
                // Closing what has not connected takes time too, and thousands may end in one instant.
                turn(now()).await;
                Err(DialFailure {
                    step: None,
                    cause: ConnectCause::Timeout,
                })
            }
        }
    }

    async fn open(
        &self,
        address: &Address,
        timeline: &mut Timeline,
    ) -> Result<Stream, DialFailure> {
        turn(timeline.started()).await;
        let (target, secured) = match address {
            Address::Unix(path) => {
                let connected = Box::pin(unix::connect(path, self.options(), timeline)).await;
                return connected.map(Stream::Unix);
            }
            Address::Tcp(target) | Address::Http(target) | Address::Ws(target) => (target, false),
            Address::Tls(target) | Address::Https(target) | Address::Wss(target) => (target, true),
            Address::Kcp(_) => {
                return Err(DialFailure {
                    step: None,
                    cause: ConnectCause::no_kcp(),
                });
            }
            Address::Udp(_) | Address::Unixgram(_) => {
                return Err(DialFailure::invalid(format!(
                    "{}:// carries datagrams and a dial opens a stream: use a datagram client",
                    address.scheme()
                )));
            }
        };
        if target.port == 0 {
            return Err(DialFailure::invalid(
                "nothing listens on port 0: write the port that the peer listens on",
            ));
        }
        // Before anything is opened: options that are wrong are wrong at once.
        let connector = match secured {
            true => Some(Box::pin(self.connector(timeline)).await?),
            false => None,
        };
        let stream = match &self.options().via {
            None => self.reach(target, timeline).await?,
            Some(via) => Box::pin(self.reach_through(via, target, timeline)).await?,
        };
        let Some(connector) = connector else {
            return Ok(Stream::Tcp(stream));
        };
        turn(now()).await;
        let name = Target::Name(target.host.as_str().into());
        let step = timeline.begin(StepKind::Tls, name, now());
        // A zone belongs to this machine; no certificate is for it.
        let host = target.host.split('%').next().unwrap_or(&target.host);
        let secured = Box::pin(connector.shake_hands(host, stream)).await;
        let secured = secured.map_err(ConnectCause::from);
        timeline.end_with(step, &secured, now());
        let secured = secured.map_err(|cause| DialFailure::at(StepKind::Tls, cause))?;
        Ok(Stream::Tls(Box::new(secured)))
    }

    /// The TLS connector. Reading its files blocks, so another thread does it.
    async fn connector(&self, timeline: &mut Timeline) -> Result<&TlsConnector, DialFailure> {
        if let Some(connector) = self.shared.tls.get() {
            return Ok(connector);
        }
        let make = || async {
            let shared = Arc::clone(&self.shared);
            let made = spawn_blocking(move || TlsConnector::new(&shared.options.tls)).await;
            match made {
                Ok(made) => made.map_err(ConnectCause::Tls),
                // The runtime ends.
                Err(error) => Err(ConnectCause::Io(error.into())),
            }
        };
        let files = Target::Name("roots and certificates".into());
        let step = timeline.begin(StepKind::Tls, files, now());
        let made = self.shared.tls.get_or_try_init(make).await;
        timeline.end_with(step, &made, now());
        made.map_err(|cause| DialFailure::at(StepKind::Tls, cause))
    }

    /// Opens a TCP connection through a proxy.
    async fn reach_through(
        &self,
        via: &Via,
        target: &HostPort,
        timeline: &mut Timeline,
    ) -> Result<TcpStream, DialFailure> {
        let mut stream = self.reach(&via.proxy, timeline).await?;
        let name = Target::Name(target.to_string().into());
        let step = timeline.begin(StepKind::Proxy, name, now());
        let opened = via.open(&mut stream, target).await;
        timeline.end_with(step, &opened, now());
        opened.map_err(|cause| DialFailure::at(StepKind::Proxy, cause))?;
        Ok(stream)
    }

    /// Opens a TCP connection to a literal or a name.
    async fn reach(
        &self,
        target: &HostPort,
        timeline: &mut Timeline,
    ) -> Result<TcpStream, DialFailure> {
        let start = |address| TcpAttempt::start(address, self.options());
        if let Some(address) = self.literal(target)? {
            return attempt::connect(address, timeline, start).await;
        }
        // Boxed, like every path but the shortest, which keeps that future small.
        Box::pin(self.reach_name(target, timeline, start)).await
    }

    /// Opens a connection to the first address of a name that answers. `start` begins an attempt to an address.
    async fn reach_name<A: Attempt>(
        &self,
        target: &HostPort,
        timeline: &mut Timeline,
        start: impl FnMut(SocketAddr) -> Result<A, ConnectCause>,
    ) -> Result<A::Opened, DialFailure> {
        let DialerShared { options, order, .. } = &*self.shared;
        let resolver = self.resolver.as_deref().unwrap_or(resolve::system());
        route::connect(target, options, *order, resolver, timeline, start).await
    }

    /// The socket address of a host that needs no resolving; a failure if the options exclude it, or there is no host.
    fn literal(&self, target: &HostPort) -> Result<Option<SocketAddr>, DialFailure> {
        match literal(target)? {
            Some(address) if !self.options().admits(address.ip()) => {
                Err(DialFailure::invalid(format!(
                    "{} is not of the family that the options `family` and `bind` leave",
                    address.ip()
                )))
            }
            None if target.host.is_empty() => {
                Err(DialFailure::invalid("the address has no host: write one"))
            }
            address => Ok(address),
        }
    }
}

/// A dial has ended: closes its timeline.
fn settle<T>(
    address: &Address,
    opened: Result<T, DialFailure>,
    mut timeline: Timeline,
) -> Result<(T, Timeline), ConnectError> {
    let opened = opened.map_err(|failure| match failure.cause {
        ConnectCause::Timeout => DialFailure {
            step: failure.step.or(timeline.furthest()),
            ..failure
        },
        _ => failure,
    });
    let (outcome, left) = match &opened {
        Ok(_) => (Outcome::Done, Outcome::Cancelled),
        Err(DialFailure {
            cause: ConnectCause::Timeout,
            ..
        }) => (Outcome::TimedOut, Outcome::TimedOut),
        Err(failure) => (failure.cause.outcome(), Outcome::Cancelled),
    };
    timeline.finish(outcome, &left, now());
    tracing::debug!(%address, %timeline, "dialed");
    watch::tell(&timeline);
    match opened {
        Ok(opened) => Ok((opened, timeline)),
        Err(DialFailure { step, cause }) => Err(ConnectError::new(
            address.to_string(),
            step,
            cause,
            timeline,
        )),
    }
}

/// The socket address of a host that needs no resolving.
fn literal(target: &HostPort) -> Result<Option<SocketAddr>, DialFailure> {
    let Some(ip) = target.ip() else {
        return Ok(None);
    };
    let mut address = SocketAddr::new(ip, target.port);
    if let (Some(zone), SocketAddr::V6(address)) = (target.zone(), &mut address) {
        address.set_scope_id(scope(address, zone)?);
    }
    Ok(Some(address))
}

/// The number of the interface that an IPv6 zone names (RFC 4007 §11).
fn scope(address: &SocketAddrV6, zone: &str) -> Result<u32, DialFailure> {
    if let Ok(number) = zone.parse() {
        return Ok(number);
    }
    nix::net::if_::if_nametoindex(zone).map_err(|_| DialFailure {
        step: None,
        cause: ConnectCause::NoInterface(format!(
            "there is no interface `{zone}`: write after the `%` of {} one that `ip link` lists",
            address.ip()
        )),
    })
}
