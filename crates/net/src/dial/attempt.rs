//! One attempt: a socket on its way to one address.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use nix::sys::socket::{SetSockOpt, sockopt};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::TcpStream;

use super::error::{ConnectCause, DialFailure};
use super::options::DialOptions;
use crate::clock::now;
use crate::timeline::{StepKind, Target, Timeline};

/// A socket that connects. Dropping it closes it.
pub(super) trait Attempt {
    /// The connected socket.
    type Opened;

    /// Whether it has come to an end, and which.
    fn poll(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Takes it over once it has connected.
    fn opened(self) -> Self::Opened;
}

/// Connects to the only address there is. `start` begins the attempt.
pub(super) async fn connect<A: Attempt>(
    target: SocketAddr,
    timeline: &mut Timeline,
    start: impl FnOnce(SocketAddr) -> Result<A, ConnectCause>,
) -> Result<A::Opened, DialFailure> {
    let step = timeline.begin(StepKind::Connect, Target::Socket(target), now());
    let connected = match start(target) {
        Ok(attempt) => match poll_fn(|context| attempt.poll(context)).await {
            Ok(()) => Ok(attempt.opened()),
            Err(error) => Err(error.into()),
        },
        Err(cause) => Err(cause),
    };
    timeline.end_with(step, &connected, now());
    connected.map_err(|cause| DialFailure::at(StepKind::Connect, cause))
}

/// A TCP socket that connects.
pub(super) struct TcpAttempt {
    target: SocketAddr,
    stream: TcpStream,
}

impl TcpAttempt {
    /// Opens a socket with the options and lets it connect.
    pub(super) fn start(target: SocketAddr, options: &DialOptions) -> Result<Self, ConnectCause> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = Socket::new_raw(Domain::for_address(target), kind, Some(Protocol::TCP))?;
        options.socket.set_on_tcp(&socket)?;
        bind(&socket, options)?;
        match socket.connect(&SockAddr::from(target)) {
            Ok(()) => {}
            Err(error) => match Errno::from_io_error(&error) {
                // A signal does not end it: it continues by itself, as if it had been in progress (connect(2)).
                Some(Errno::INPROGRESS | Errno::INTR) => {}
                _ => return Err(error.into()),
            },
        }
        let stream = TcpStream::from_std(socket.into())?;
        Ok(Self { target, stream })
    }
}

impl Attempt for TcpAttempt {
    type Opened = TcpStream;

    fn poll(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.stream.poll_write_ready(context))?;
        // Writable means decided; SO_ERROR has the decision.
        if let Some(error) = self.stream.take_error()? {
            return Poll::Ready(Err(error));
        }
        // If nobody listens on a port from the range of local ports, a socket can connect to itself (simultaneous open,
        // RFC 9293 §3.5).
        if self.stream.local_addr()? == self.target {
            return Poll::Ready(Err(Errno::CONNREFUSED.into()));
        }
        Poll::Ready(Ok(()))
    }

    fn opened(self) -> TcpStream {
        self.stream
    }
}

/// A datagram socket that is connected: that takes no time, because no packet is sent.
pub(super) struct Connected<T>(pub(super) T);

impl<T> Attempt for Connected<T> {
    type Opened = T;

    fn poll(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn opened(self) -> T {
        self.0
    }
}

/// Binds to the local interface and address that the options name.
fn bind(socket: &Socket, options: &DialOptions) -> Result<(), ConnectCause> {
    bind_interface(socket, options)?;
    if let Some(local) = options.bind {
        if local.port() == 0 {
            // The port is chosen when the peer is known: one that is in use towards another peer will do.
            // Where the kernel does not know the option, there are fewer ports.
            let _ = sockopt::IpBindAddressNoPort.set(socket, &true);
        }
        socket.bind(&SockAddr::from(local))?;
    }
    Ok(())
}

/// Binds to the local interface that the options name.
pub(super) fn bind_interface(socket: &Socket, options: &DialOptions) -> Result<(), ConnectCause> {
    if let Some(interface) = &options.interface {
        socket.bind_device(Some(interface.as_bytes())).map_err(
            |error| match Errno::from_io_error(&error) {
                Some(Errno::NODEV) => ConnectCause::NoInterface(format!(
                    "there is no interface `{interface}`: write one that `ip link` lists"
                )),
                _ => error.into(),
            },
        )?;
    }
    Ok(())
}
