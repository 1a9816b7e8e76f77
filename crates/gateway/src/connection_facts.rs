//! What a client's connection fills into texts.

use std::fmt::{Arguments, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::time::Duration;

use moorline_config::{Balance, NameId, Template, Variable};
use moorline_net::tls::TlsRecords;
use moorline_proxy::{Facts, Maps, Text};
use rustix::net::SocketAddrAny;

use crate::cx::{Cx, unix_ms};
use crate::ids::ListenerId;
use crate::notes::{AttemptNote, Notes};
use crate::proxy_header::fields;
use crate::shared::limits::LimitStatus;
use crate::tls_facts::TlsFacts;
use crate::upstreams::SharedUpstream;
use moorline_process::utc::Utc;
use moorline_protocol::wire::Peer;

/// What the address of a client on a Unix socket is called.
const UNIX: &str = "unix:";

/// What a client's connection knows of itself. What is not known is empty in a text.
pub(crate) struct ConnectionFacts<'a> {
    pub(crate) cx: &'a Cx,
    pub(crate) listener: ListenerId,
    /// The client, as trusted proxies name it.
    pub(crate) client: &'a Peer,
    /// What was noted for texts.
    pub(crate) notes: Option<&'a Notes>,
    pub(crate) socket: Option<&'a OwnedFd>,
    /// The address that its datagrams were sent to, where the socket has several.
    pub(crate) local: Option<IpAddr>,
    /// No other relay of its kind has it.
    pub(crate) number: u64,
    /// In milliseconds since the Unix epoch.
    pub(crate) begun_at: u64,
    pub(crate) relayed: Option<Relayed<'a>>,
    /// Its TLS, where that ends here.
    pub(crate) tls: Option<&'a TlsRecords>,
    /// How it has ended, as in nginx.
    pub(crate) status: Option<u16>,
    /// Why it has ended.
    pub(crate) reason: &'a str,
}

/// What is known of a connection that is relayed.
pub(crate) struct Relayed<'a> {
    pub(crate) upstream: &'a str,
    /// Bytes that the peer took.
    pub(crate) ahead: u64,
    /// Bytes that the client took.
    pub(crate) back: u64,
}

impl ConnectionFacts<'_> {
    /// The filled template.
    pub(crate) fn filled(&self, template: &Template) -> Text {
        let mut text = Text::default();
        text.fill(template, self);
        text
    }

    /// The key of hashing, filled in; empty with another rule. The text is that of the loop's configuration, as what it refers to.
    pub(crate) fn hash_key(&self, upstream: &SharedUpstream) -> Text {
        if upstream.is_hashed()
            && let Some(upstream) = self.cx.config.upstream(&upstream.name)
            && let Balance::Hash { key, .. } = &upstream.balance
        {
            return self.filled(key);
        }
        Text::default()
    }

    /// The address that the connection itself comes from.
    fn connection(&self) -> &Peer {
        let noted = self.notes.and_then(|notes| notes.connection.as_ref());
        noted.unwrap_or(self.client)
    }

    /// As in nginx.
    fn limit_status(&self) -> &'static [u8] {
        match self.notes.map(|notes| notes.limit_status) {
            // Only limits end a connection with it.
            _ if self.status == Some(503) => b"REJECTED",
            Some(LimitStatus::Passed) => b"PASSED",
            Some(LimitStatus::OverInDryRun) => b"REJECTED_DRY_RUN",
            Some(LimitStatus::Uncounted) | None => b"",
        }
    }

    fn attempts(&self) -> &[AttemptNote] {
        let attempts = self.notes.and_then(|notes| notes.attempts.as_deref());
        attempts.unwrap_or_default()
    }

    fn write_listener(&self, text: &mut Text) {
        let listener = self.cx.config.listeners.get(self.listener.index());
        text.push(listener.map_or("", |it| &it.name).as_bytes());
    }

    /// What the header of the PROXY protocol says.
    fn write_announced(&self, variable: Variable, text: &mut Text) {
        let Some(header) = self.notes.and_then(|notes| notes.header.as_deref()) else {
            return;
        };
        let client = || fields::ends(header).map(|(client, _)| client);
        let server = || fields::ends(header).map(|(_, server)| server);
        let (end, is_port) = match variable {
            Variable::ProxyAddress => (client(), false),
            Variable::ProxyPort => (client(), true),
            Variable::ProxyServerAddress => (server(), false),
            Variable::ProxyServerPort => (server(), true),
            Variable::ProxyTlv(kind) => {
                text.push(fields::field(header, kind).unwrap_or_default());
                return;
            }
            Variable::ProxySslTlv(kind) => {
                text.push(fields::ssl_field(header, kind).unwrap_or_default());
                return;
            }
            _ => {
                if let Some(outcome) = fields::ssl_verify(header) {
                    write_number(outcome.into(), text);
                }
                return;
            }
        };
        match end {
            Some(end) if is_port => write_number(end.port().into(), text),
            Some(end) => put(text, format_args!("{}", end.ip())),
            None => {}
        }
    }

    /// What a group of the pattern has found that has chosen the server.
    fn write_group(&self, group: NameId, text: &mut Text) {
        let tls = self.tls();
        let (servers, place) = (&self.cx.servers, self.listener.index());
        let found = tls.name().and_then(|it| servers.group(place, it, group));
        text.push(&found.unwrap_or_default());
    }

    /// What a variable of attempts says of each of them.
    fn write_attempts(&self, variable: Variable, text: &mut Text) {
        let now = self.cx.clock.ms;
        let attempts = self.attempts();
        for (at, attempt) in attempts.iter().enumerate() {
            if at > 0 {
                text.push(b", ");
            }
            // Only the last one can have had bytes.
            let relayed = self.relayed.as_ref().filter(|_| at + 1 == attempts.len());
            match variable {
                Variable::UpstreamConnectTime => write_time(attempt.connect_time(), text),
                Variable::UpstreamFirstByteTime => write_time(attempt.first_byte_time(), text),
                Variable::UpstreamSessionTime => write_time(Some(attempt.lasted(now)), text),
                Variable::UpstreamBytesSent => write_number(relayed.map_or(0, |it| it.ahead), text),
                Variable::UpstreamBytesReceived => {
                    write_number(relayed.map_or(0, |it| it.back), text);
                }
                _ => text.push(attempt.peer.as_bytes()),
            }
        }
    }

    /// What TLS tells.
    fn tls(&self) -> TlsFacts<'_> {
        TlsFacts {
            hello: self.notes.and_then(|notes| notes.hello.as_deref()),
            tls: self.tls,
            offer: self.notes.and_then(|notes| notes.offer.as_deref()),
        }
    }

    /// The local address of the client's connection.
    fn server(&self) -> Option<SocketAddrAny> {
        let bound = rustix::net::getsockname(self.socket?).ok()?;
        let Some(local) = self.local else {
            return Some(bound);
        };
        let bound = SocketAddr::try_from(bound).ok()?;
        Some(SocketAddr::new(local, bound.port()).into())
    }
}

impl Facts for ConnectionFacts<'_> {
    fn maps(&self) -> &Maps {
        &self.cx.maps
    }

    fn set(&self, name: NameId) -> Option<&Template> {
        let listener = self.cx.config.listeners.get(self.listener.index());
        listener?.set(name)
    }

    fn write(&self, variable: Variable, text: &mut Text) {
        match variable {
            Variable::ClientAddress => write_address(self.client, text),
            Variable::ClientPort => write_port(self.client, text),
            Variable::ClientBinary => write_binary(self.client, text),
            Variable::ConnectionAddress => write_address(self.connection(), text),
            Variable::ConnectionPort => write_port(self.connection(), text),
            Variable::Connection => write_number(self.number, text),
            Variable::ServerAddress => write_server(self.server(), text),
            Variable::ServerPort => {
                if let Some(server) = self.server().and_then(|it| SocketAddr::try_from(it).ok()) {
                    write_number(server.port().into(), text);
                }
            }
            Variable::Listener => self.write_listener(text),
            Variable::Protocol => {
                let is_datagram = self.cx.listener(self.listener).is_datagram();
                text.push(if is_datagram { b"UDP" } else { b"TCP" });
            }
            Variable::UpstreamName => {
                let relayed = self.relayed.as_ref();
                text.push(relayed.map_or("", |it| it.upstream).as_bytes());
            }
            Variable::ProxyAddress
            | Variable::ProxyPort
            | Variable::ProxyServerAddress
            | Variable::ProxyServerPort
            | Variable::ProxyTlv(_)
            | Variable::ProxySslTlv(_)
            | Variable::ProxySslVerify => self.write_announced(variable, text),
            Variable::UpstreamAddress
            | Variable::UpstreamConnectTime
            | Variable::UpstreamFirstByteTime
            | Variable::UpstreamSessionTime
            | Variable::UpstreamBytesSent
            | Variable::UpstreamBytesReceived => self.write_attempts(variable, text),
            Variable::Status => put(text, format_args!("{:03}", self.status.unwrap_or(0))),
            Variable::LimitStatus => text.push(self.limit_status()),
            Variable::Reason => text.push(self.reason.as_bytes()),
            Variable::BytesSent => {
                write_number(self.relayed.as_ref().map_or(0, |it| it.back), text);
            }
            Variable::BytesReceived => {
                write_number(self.relayed.as_ref().map_or(0, |it| it.ahead), text);
            }
            Variable::SessionTime => {
                let lasted = unix_ms().saturating_sub(self.begun_at);
                write_time(Some(Duration::from_millis(lasted)), text);
            }
            Variable::TimeIso => text.push(Utc::now().iso().as_bytes()),
            Variable::TimeLocal => text.push(Utc::now().log().as_bytes()),
            Variable::TimeMsec => write_time(Some(Duration::from_millis(unix_ms())), text),
            Variable::Pid => write_number(std::process::id().into(), text),
            Variable::Hostname => text.push(hostname().as_bytes()),
            Variable::Tls(variable) => self.tls().write(variable, text),
            Variable::Match(group) => self.write_group(group, text),
            Variable::EngineVersion => text.push(env!("CARGO_PKG_VERSION").as_bytes()),
        }
    }
}

/// A text takes every write.
fn put(text: &mut Text, what: Arguments<'_>) {
    let _ = text.write_fmt(what);
}

fn write_number(number: u64, text: &mut Text) {
    put(text, format_args!("{number}"));
}

/// An IPv4 address within IPv6 is written as IPv4.
fn write_address(peer: &Peer, text: &mut Text) {
    match peer {
        Peer::Ip(address) => put(text, format_args!("{}", address.ip().to_canonical())),
        Peer::Unix | Peer::UnixNamed(_) => text.push(UNIX.as_bytes()),
        _ => {}
    }
}

fn write_port(peer: &Peer, text: &mut Text) {
    if let Peer::Ip(address) = peer {
        put(text, format_args!("{}", address.port()));
    }
}

fn write_binary(peer: &Peer, text: &mut Text) {
    match peer {
        Peer::Ip(address) => match address.ip().to_canonical() {
            IpAddr::V4(ip) => text.push(&ip.octets()),
            IpAddr::V6(ip) => text.push(&ip.octets()),
        },
        Peer::Unix | Peer::UnixNamed(_) => text.push(UNIX.as_bytes()),
        _ => {}
    }
}

fn write_server(server: Option<SocketAddrAny>, text: &mut Text) {
    let Some(server) = server else {
        return;
    };
    if let Ok(address) = SocketAddr::try_from(server.clone()) {
        put(text, format_args!("{}", address.ip().to_canonical()));
    } else if let Ok(address) = rustix::net::SocketAddrUnix::try_from(server) {
        text.push(UNIX.as_bytes());
        text.push(address.path_bytes().unwrap_or_default());
    }
}

/// Seconds with milliseconds, `-` for none.
fn write_time(time: Option<Duration>, text: &mut Text) {
    match time {
        Some(time) => put(
            text,
            format_args!("{}.{:03}", time.as_secs(), time.subsec_millis()),
        ),
        None => text.push(b"-"),
    }
}

/// The name of this machine, as it was when it was first asked for.
fn hostname() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl Fn(&mut Text)) -> Vec<u8> {
        let mut text = Text::default();
        write(&mut text);
        text.into_bytes()
    }

    #[test]
    fn a_client_within_ipv6_is_the_ipv4_client_that_it_is() {
        let client = Peer::Ip("[::ffff:192.0.2.1]:7".parse().expect("an address"));
        assert_eq!(written(|text| write_address(&client, text)), b"192.0.2.1");
        assert_eq!(written(|text| write_port(&client, text)), b"7");
        assert_eq!(written(|text| write_binary(&client, text)), [192, 0, 2, 1]);
    }

    #[test]
    fn a_client_on_a_unix_socket_has_no_port() {
        assert_eq!(written(|text| write_address(&Peer::Unix, text)), b"unix:");
        assert_eq!(written(|text| write_binary(&Peer::Unix, text)), b"unix:");
        assert_eq!(written(|text| write_port(&Peer::Unix, text)), b"");
    }

    #[test]
    fn times_have_milliseconds() {
        let time = Duration::from_millis(61_007);
        assert_eq!(written(|text| write_time(Some(time), text)), b"61.007");
        assert_eq!(written(|text| write_time(None, text)), b"-");
    }
}
