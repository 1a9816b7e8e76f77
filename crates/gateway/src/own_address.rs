//! The local address of a connection to a peer, where the upstream has `bind`.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

use moorline_config::{BadBind, Bind, BindAddress, Config, Template, TemplatePart, parse_bind};
use moorline_process::rights::may_use_other_addresses;
use moorline_proxy::{Facts, Failure, Text};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{IpBindAddressNoPort, IpTransparent, ReuseAddr};
use rustix::io::Errno;

use crate::connection_facts::ConnectionFacts;
use crate::ids::ListenerId;
use crate::refusal_log::RefusalLog;
use crate::tools::Tools;

/// The local address of a connection to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OwnAddress {
    /// Port 0: any.
    address: SocketAddr,
    /// It may be one of another machine.
    is_transparent: bool,
}

/// Why no socket can be opened for a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenFault {
    /// An error of this machine.
    System(Errno),
    /// The peer cannot be reached.
    Connecting(Errno),
    /// This process may not use addresses of other machines.
    NotAllowed(SocketAddr),
    /// The address cannot be used.
    Unusable(OwnAddress, Errno),
    /// The peer has none of its family.
    Family(SocketAddr),
}

/// Warns if this process lacks a right that an upstream needs.
pub(crate) fn warn_of_missing_right(config: &Config) {
    if let Some(upstream) = config.transparent_upstream()
        && !may_use_other_addresses()
    {
        tracing::warn!(
            upstream = %upstream.name,
            "a transparent `bind` needs CAP_NET_ADMIN or CAP_NET_RAW, and the gateway has neither: its connections will fail"
        );
    }
}

impl OwnAddress {
    /// The address that a connection with these facts has. A text that is none is told.
    pub(crate) fn of(
        bind: &Bind,
        facts: &ConnectionFacts<'_>,
        refusals: &mut RefusalLog,
    ) -> Option<Self> {
        let BindAddress::Text(text) = &bind.address else {
            return bind.fixed().map(|address| Self::new(address, bind));
        };
        let text = filled(text, facts);
        if text.is_empty() {
            return None;
        }
        match parse_bind(&text) {
            Ok(address) => Some(Self::new(address, bind)),
            Err(BadBind) => {
                if let Some(unlogged) = refusals.tells(facts.listener, facts.cx.clock.ms) {
                    tracing::warn!(
                        listener = %facts.cx.listener(facts.listener).name, client = %facts.client, unlogged,
                        "`bind` has the value {text:?}, which is no IP address: the kernel chooses one"
                    );
                }
                None
            }
        }
    }

    /// The address of checks: the same, with any port.
    pub(crate) fn of_checks(bind: &Bind) -> Option<Self> {
        let address = bind.fixed()?;
        Some(Self::new(SocketAddr::new(address.ip(), 0), bind))
    }

    fn new(address: SocketAddr, bind: &Bind) -> Self {
        Self {
            address: SocketAddr::new(address.ip().to_canonical(), address.port()),
            is_transparent: bind.is_transparent,
        }
    }

    /// Binds a socket to it, which is connected to this peer next.
    ///
    /// # Errors
    /// The address cannot be used.
    pub(crate) fn put_on(self, socket: impl AsFd, peer: &SocketAddr) -> Result<(), OpenFault> {
        let Self { address, .. } = self;
        if address.is_ipv4() != peer.is_ipv4() {
            return Err(OpenFault::Family(address));
        }
        let socket = socket.as_fd();
        if self.is_transparent {
            // The option is one for both families.
            setsockopt(&socket, IpTransparent, &true).map_err(|error| match error {
                nix::errno::Errno::EPERM => OpenFault::NotAllowed(address),
                error => OpenFault::System(Errno::from_raw_os_error(error as i32)),
            })?;
        }
        // Without a port it is chosen when the socket connects: one of its own for each peer, not for all. With one, connections to
        // several peers may have it, also soon after another one has ended.
        let _ = match address.port() {
            0 => setsockopt(&socket, IpBindAddressNoPort, &true),
            _ => setsockopt(&socket, ReuseAddr, &true),
        };
        rustix::net::bind(socket, &address).map_err(|error| OpenFault::Unusable(self, error))
    }
}

/// The text of a local address. One of IPv6 that a variable or a map has written gets brackets where a port follows.
fn filled(template: &Template, facts: &dyn Facts) -> String {
    let Some((first, others)) = template.parts().split_first() else {
        return String::new();
    };
    let text_of = |parts: &[TemplatePart]| {
        let mut text = Text::default();
        for part in parts {
            text.fill_part(part, facts);
        }
        String::from_utf8_lossy(text.as_bytes()).into_owned()
    };
    let (begin, rest) = (text_of(std::slice::from_ref(first)), text_of(others));
    let port = rest
        .strip_prefix(':')
        .and_then(|port| port.parse::<u16>().ok());
    match (first, begin.parse::<Ipv6Addr>(), port) {
        (TemplatePart::Text(_), ..) | (_, Err(_), _) | (.., None) => begin + &rest,
        (_, Ok(address), Some(port)) => format!("[{address}]:{port}"),
    }
}

impl OpenFault {
    /// The same, as health counts it.
    pub(crate) fn failure(self) -> Failure {
        let error = match self {
            Self::Connecting(error) => return Failure::System(error.raw_os_error()),
            Self::System(error) | Self::Unusable(_, error) => error,
            Self::NotAllowed(_) => Errno::PERM,
            Self::Family(_) => Errno::AFNOSUPPORT,
        };
        Failure::Local(error.raw_os_error())
    }

    /// What is wrong with the local address is told in the log, once a second for each listener.
    pub(crate) fn tell(
        self,
        (listener, upstream, peer): (ListenerId, &str, &dyn fmt::Display),
        Tools { cx, refusals, .. }: &mut Tools,
    ) {
        if !matches!(self, Self::System(_) | Self::Connecting(_))
            && let Some(unlogged) = refusals.tells(listener, cx.clock.ms)
        {
            tracing::warn!(
                listener = %cx.listener(listener).name, %upstream, %peer, error = %self, unlogged,
                "the local address for a peer cannot be used"
            );
        }
    }
}

impl fmt::Display for OpenFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(error) | Self::Connecting(error) => error.fmt(f),
            Self::NotAllowed(address) => write!(
                f,
                "`transparent` with {}: the gateway needs CAP_NET_ADMIN or CAP_NET_RAW",
                address.ip()
            ),
            Self::Unusable(own, Errno::ADDRNOTAVAIL) if !own.is_transparent => {
                let ip = own.address.ip();
                write!(
                    f,
                    "{ip} is no address of this machine: others need `transparent = true`"
                )
            }
            Self::Unusable(own, error) => write!(f, "{} cannot be used: {error}", own.address),
            Self::Family(address) => {
                write!(f, "{} is of another family than the peer", address.ip())
            }
        }
    }
}

impl From<Errno> for OpenFault {
    fn from(error: Errno) -> Self {
        Self::System(error)
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    fn own(address: &str, is_transparent: bool) -> OwnAddress {
        let address = address.parse().expect("an address");
        OwnAddress {
            address,
            is_transparent,
        }
    }

    #[test]
    fn what_is_wrong_with_an_address_is_told() {
        let peer = "127.0.0.1:9".parse().expect("an address");
        let socket = rustix::net::socket(
            rustix::net::AddressFamily::INET,
            rustix::net::SocketType::DGRAM,
            None,
        )
        .expect("a socket");
        let refused = |own: OwnAddress| own.put_on(&socket, &peer).expect_err("it is wrong");
        assert_eq!(
            refused(own("[::1]:0", false)).to_string(),
            "::1 is of another family than the peer"
        );
        assert_eq!(
            refused(own("192.0.2.1:0", false)).to_string(),
            "192.0.2.1 is no address of this machine: others need `transparent = true`"
        );
        let taken = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let address = taken.local_addr().expect("it is bound");
        let fault = refused(own(&address.to_string(), false));
        assert_eq!(
            fault.to_string(),
            format!("{address} cannot be used: Address already in use (os error 98)")
        );
        assert_eq!(fault.failure(), Failure::Local(98));
    }

    /// A client at this address, whose port is 443.
    struct At(&'static str, moorline_proxy::Maps);

    impl Facts for At {
        fn write(&self, variable: moorline_config::Variable, text: &mut Text) {
            let is_port = variable == moorline_config::Variable::ClientPort;
            text.push(if is_port { "443" } else { self.0 }.as_bytes());
        }

        fn maps(&self) -> &moorline_proxy::Maps {
            &self.1
        }

        fn set(&self, _: moorline_config::NameId) -> Option<&Template> {
            None
        }
    }

    #[test]
    fn a_client_of_either_family_may_be_followed_by_a_port() {
        for (text, client, address) in [
            (
                "${client.address}:${client.port}",
                "10.0.0.9",
                "10.0.0.9:443",
            ),
            ("${client.address}:${client.port}", "::1", "[::1]:443"),
            ("${client.address}:80", "2001:db8::1", "[2001:db8::1]:80"),
            ("[${client.address}]:${client.port}", "::1", "[::1]:443"),
            ("${client.address}", "::1", "[::1]:0"),
        ] {
            let config = format!(
                "[[listen]]\naddress = \"tcp://127.0.0.1:1\"\nupstream = \"a\"\n[upstream.a]\n\
                 peers = [\"tcp://127.0.0.1:1\"]\nbind = \"{text}\"\n"
            );
            let config = moorline_config::load_text(&config, std::path::Path::new("/c/a.toml"));
            let config = config.unwrap_or_else(|error| panic!("{error}")).config;
            let bind = config.upstreams[0].bind.as_ref().expect("it has one");
            let BindAddress::Text(template) = &bind.address else {
                panic!("it has variables");
            };
            let filled = filled(template, &At(client, moorline_proxy::Maps::default()));
            assert_eq!(
                parse_bind(&filled),
                Ok(address.parse().expect("an address")),
                "{text}"
            );
        }
    }
}
