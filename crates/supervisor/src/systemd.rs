//! Messages to systemd: readiness, reloads, signs of life (sd_notify(3)); and sockets that systemd has opened
//! (sd_listen_fds(3)).
//!
//! Both come in environment variables, which are removed: they are not meant for the other processes.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::rc::Rc;
use std::time::Duration;

use moorline_ipc::{inherited, take_variable};
use moorline_net::Address;
use rustix::time::{ClockId, clock_gettime};
use socket2::{Domain, SockRef, Type};

use moorline_config::Listener;

/// Where the sockets begin (`SD_LISTEN_FDS_START`).
const FIRST_SOCKET: i32 = 3;
/// Sockets are moved away from the numbers at which children find their descriptors.
const LOWEST: i32 = 16;
/// More than a configuration has listeners: a number that was mistyped.
const MOST_SOCKETS: i32 = 1024;

/// Sends messages to the service manager, if there is one.
pub(super) struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
    /// How often the service manager wants a sign of life.
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Call it while the process has one thread.
    ///
    /// # Errors
    /// A variable of the environment has an invalid value.
    pub(super) fn from_environment() -> io::Result<Self> {
        let to = match take_variable("NOTIFY_SOCKET")? {
            Some(name) => Some((UnixDatagram::unbound()?, address(&name)?)),
            None => None,
        };
        if let Some((socket, _)) = &to {
            socket.set_nonblocking(true)?;
        }
        let period = take_variable("WATCHDOG_USEC")?.and_then(|text| number::<u64>(&text));
        let is_ours = take_variable("WATCHDOG_PID")?
            .is_none_or(|text| number(&text) == Some(u64::from(std::process::id())));
        Ok(Self {
            to,
            // Twice in the time, as sd_watchdog_enabled(3) advises.
            watchdog: period
                .filter(|&microseconds| is_ours && microseconds > 1)
                .map(|microseconds| Duration::from_micros(microseconds / 2)),
        })
    }

    /// How often [`alive`](Self::alive) must be called.
    pub(super) fn watchdog(&self) -> Option<Duration> {
        self.watchdog.filter(|_| self.to.is_some())
    }

    pub(super) fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    pub(super) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        // It tells systemd whether the signal was sent before or after.
        let microseconds = now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000;
        self.tell(&format!(
            "RELOADING=1\nMONOTONIC_USEC={microseconds}\nSTATUS=reloading"
        ));
    }

    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping");
    }

    fn tell(&self, text: &str) {
        if let Some((socket, to)) = &self.to
            && let Err(error) = socket.send_to_addr(text.as_bytes(), to)
        {
            tracing::warn!(%error, "systemd could not be notified: {text:?}");
        }
    }
}

/// A path, or after an `@` an abstract name.
fn address(name: &OsString) -> io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}

fn number<T: std::str::FromStr>(text: &OsString) -> Option<T> {
    text.to_str()?.parse().ok()
}

/// Sockets that were opened before the engine was started. They are kept: a listener that a reload has removed may come
/// back, and the service manager still has its socket.
#[derive(Default)]
pub(super) struct Given(Vec<GivenSocket>);

struct GivenSocket {
    name: String,
    socket: Rc<OwnedFd>,
    is_taken: bool,
}

impl Given {
    /// Call it while the process has one thread, and before anything is opened that children could inherit.
    ///
    /// # Errors
    /// A variable of the environment has an invalid value.
    pub(super) fn from_environment() -> io::Result<Self> {
        let is_ours = take_variable("LISTEN_PID")?
            .is_some_and(|text| number(&text) == Some(std::process::id()));
        let count = take_variable("LISTEN_FDS")?;
        let names = take_variable("LISTEN_FDNAMES")?.map(OsString::into_vec);
        let Some(count) = count.filter(|_| is_ours) else {
            return Ok(Self::default());
        };
        let count = number(&count).filter(|count| (0..=MOST_SOCKETS).contains(count));
        let count =
            count.ok_or_else(|| io::Error::other("LISTEN_FDS is not a number of sockets"))?;
        let names = String::from_utf8(names.unwrap_or_default()).unwrap_or_default();
        let mut names = names.split(':');
        let mut given = Vec::new();
        for fd in FIRST_SOCKET..FIRST_SOCKET + count {
            let socket = rustix::io::fcntl_dupfd_cloexec(inherited(fd)?, LOWEST)?;
            SockRef::from(&socket).set_nonblocking(true)?;
            given.push(GivenSocket {
                name: names.next().unwrap_or_default().to_owned(),
                socket: Rc::new(socket),
                is_taken: false,
            });
        }
        Ok(Self(given))
    }

    /// The socket for this listener, if no other listener has taken it: the socket has the listener's name or its
    /// address.
    pub(super) fn take(
        &mut self,
        listener: &Listener,
        is_had: impl Fn(&Rc<OwnedFd>) -> bool,
    ) -> Option<Rc<OwnedFd>> {
        let given = self.0.iter_mut().find(|given| {
            is_of_kind(&given.socket, &listener.address)
                && (given.name == listener.name || is_bound_to(&given.socket, &listener.address))
                && !is_had(&given.socket)
        })?;
        given.is_taken = true;
        Some(given.socket.clone())
    }

    /// A socket that no listener took: its name and address.
    pub(super) fn left(&self) -> Option<String> {
        let GivenSocket { name, socket, .. } = self.0.iter().find(|given| !given.is_taken)?;
        let address = SockRef::from(&**socket).local_addr().ok();
        let address = address.and_then(|address| match address.as_pathname() {
            Some(path) => Some(path.display().to_string()),
            None => address.as_socket().map(|address| address.to_string()),
        });
        Some(format!(
            "{name:?}, bound to {}",
            address.unwrap_or_default()
        ))
    }
}

fn is_of_kind(socket: &OwnedFd, address: &Address) -> bool {
    let socket = SockRef::from(socket);
    let is_unix = socket.domain().is_ok_and(|domain| domain == Domain::UNIX);
    let kind = match address {
        Address::Udp(_) | Address::Kcp(_) | Address::Unixgram(_) => Type::DGRAM,
        _ => Type::STREAM,
    };
    let listens = kind == Type::DGRAM || socket.is_listener().unwrap_or(false);
    is_unix == address.host_port().is_none()
        && socket.r#type().is_ok_and(|found| found == kind)
        && listens
}

fn is_bound_to(socket: &OwnedFd, address: &Address) -> bool {
    let Ok(bound) = SockRef::from(socket).local_addr() else {
        return false;
    };
    match (address, address.host_port()) {
        (Address::Unix(path) | Address::Unixgram(path), _) => match bound.as_abstract_namespace() {
            // Behind a NUL byte, as an abstract name is written in an address.
            Some(name) => path.as_os_str().as_bytes().strip_prefix(b"\0") == Some(name),
            None => bound.as_pathname() == Some(path),
        },
        (_, Some(wanted)) => bound.as_socket().is_some_and(|bound| {
            bound.port() == wanted.port && wanted.host.parse() == Ok(bound.ip())
        }),
        (_, None) => false,
    }
}
