//! Texts with variables, as in `"${client.address}"`. They are resolved when the configuration is loaded.

use serde::{Deserialize, Serialize};

use super::error::Reported;
use super::names::{NameId, Named};
use super::near;
use super::tls_variables::{TLS_VARIABLES, TlsVariable};
use super::walk::Field;

/// Parts of one text: more than any reader could follow.
const MOST_PARTS: usize = 64;

/// What a connection fills in. One that it does not know, or not yet, is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Variable {
    /// `${client.address}`: the client's IP address, behind trusted proxies the one that they name; `unix:` for a client
    /// on a Unix socket.
    ClientAddress,
    /// `${client.port}`: its port; empty on a Unix socket.
    ClientPort,
    /// `${client.binary}`: its address as 4 or 16 bytes; `unix:` on a Unix socket.
    ClientBinary,
    /// `${connection.address}`: the address that the connection itself comes from: of a proxy, where one is in front.
    ConnectionAddress,
    /// `${connection.port}`: its port.
    ConnectionPort,
    /// `${connection}`: a number that no other connection of this gateway has.
    Connection,
    /// `${server.address}`: the local address that the client has connected to, `unix:` and the path on a Unix socket.
    ServerAddress,
    /// `${server.port}`: its port.
    ServerPort,
    /// `${listener}`: the name of the listener.
    Listener,
    /// `${protocol}`: `TCP` or `UDP`.
    Protocol,
    /// `${proxy.address}`: the client's address that the PROXY header names, be its sender trusted or not.
    ProxyAddress,
    /// `${proxy.port}`: its port.
    ProxyPort,
    /// `${proxy.server.address}`: the address that the client has connected to, as the PROXY header names it.
    ProxyServerAddress,
    /// `${proxy.server.port}`: its port.
    ProxyServerPort,
    /// `${proxy.tlv.0xea}`, and those with a name: a field of the PROXY header.
    ProxyTlv(u8),
    /// `${proxy.tlv.ssl.0x22}`, and those with a name: a field within the one about TLS.
    ProxySslTlv(u8),
    /// `${proxy.tlv.ssl.verify}`: the outcome of verifying the client's certificate; 0 is success.
    ProxySslVerify,
    /// `${upstream.name}`: the upstream that it is relayed to.
    UpstreamName,
    /// `${upstream.address}`: the peers that were asked, in order, with `, ` between them. So are the four that follow.
    UpstreamAddress,
    /// `${upstream.connect_time}`: the seconds until each was connected, `-` where it was not.
    UpstreamConnectTime,
    /// `${upstream.first_byte_time}`: the seconds from the attempt until its first byte, `-` where none came.
    UpstreamFirstByteTime,
    /// `${upstream.session_time}`: the seconds from the attempt until its end.
    UpstreamSessionTime,
    /// `${upstream.bytes_sent}`: the bytes that it took.
    UpstreamBytesSent,
    /// `${upstream.bytes_received}`: the bytes that came from it.
    UpstreamBytesReceived,
    /// `${status}`: 200, 400, 403, 500, 502 or 503; `000` before its end.
    Status,
    /// `${limit.status}`: what `limits` say of it: `PASSED`, `REJECTED` or `REJECTED_DRY_RUN`; empty where it counts for none.
    LimitStatus,
    /// `${reason}`: why it has ended, as in the engine's log; empty before its end.
    Reason,
    /// `${bytes.sent}`: bytes that the client was sent.
    BytesSent,
    /// `${bytes.received}`: bytes that came from the client.
    BytesReceived,
    /// `${session_time}`: seconds since its beginning.
    SessionTime,
    /// `${time.iso}`: the time in UTC, as in `2026-11-29T14:05:06+00:00`.
    TimeIso,
    /// `${time.local}`: the time in UTC, as in `29/Nov/2026:14:05:06 +0000`.
    TimeLocal,
    /// `${time.msec}`: the seconds since 1970, with milliseconds.
    TimeMsec,
    /// `${pid}`: the id of the gateway's process.
    Pid,
    /// `${hostname}`: the name of this machine.
    Hostname,
    /// `${engine.version}`: the version of Moorline.
    EngineVersion,
    /// What TLS tells.
    Tls(TlsVariable),
    /// `${match.NAME}`, `${match.1}`: what this group of the pattern has found that has chosen the server.
    Match(NameId),
}

/// Every variable, as it is written.
const VARIABLES: &[(&str, Variable)] = &[
    ("client.address", Variable::ClientAddress),
    ("client.port", Variable::ClientPort),
    ("client.binary", Variable::ClientBinary),
    ("connection.address", Variable::ConnectionAddress),
    ("connection.port", Variable::ConnectionPort),
    ("connection", Variable::Connection),
    ("server.address", Variable::ServerAddress),
    ("server.port", Variable::ServerPort),
    ("listener", Variable::Listener),
    ("protocol", Variable::Protocol),
    ("proxy.address", Variable::ProxyAddress),
    ("proxy.port", Variable::ProxyPort),
    ("proxy.server.address", Variable::ProxyServerAddress),
    ("proxy.server.port", Variable::ProxyServerPort),
    ("proxy.tlv.alpn", Variable::ProxyTlv(0x01)),
    ("proxy.tlv.authority", Variable::ProxyTlv(0x02)),
    ("proxy.tlv.unique_id", Variable::ProxyTlv(0x05)),
    ("proxy.tlv.ssl", Variable::ProxyTlv(0x20)),
    ("proxy.tlv.netns", Variable::ProxyTlv(0x30)),
    ("proxy.tlv.ssl.verify", Variable::ProxySslVerify),
    ("proxy.tlv.ssl.version", Variable::ProxySslTlv(0x21)),
    ("proxy.tlv.ssl.cn", Variable::ProxySslTlv(0x22)),
    ("proxy.tlv.ssl.cipher", Variable::ProxySslTlv(0x23)),
    ("proxy.tlv.ssl.sig_alg", Variable::ProxySslTlv(0x24)),
    ("proxy.tlv.ssl.key_alg", Variable::ProxySslTlv(0x25)),
    ("upstream.name", Variable::UpstreamName),
    ("upstream.address", Variable::UpstreamAddress),
    ("upstream.connect_time", Variable::UpstreamConnectTime),
    ("upstream.first_byte_time", Variable::UpstreamFirstByteTime),
    ("upstream.session_time", Variable::UpstreamSessionTime),
    ("upstream.bytes_sent", Variable::UpstreamBytesSent),
    ("upstream.bytes_received", Variable::UpstreamBytesReceived),
    ("status", Variable::Status),
    ("limit.status", Variable::LimitStatus),
    ("reason", Variable::Reason),
    ("bytes.sent", Variable::BytesSent),
    ("bytes.received", Variable::BytesReceived),
    ("session_time", Variable::SessionTime),
    ("time.iso", Variable::TimeIso),
    ("time.local", Variable::TimeLocal),
    ("time.msec", Variable::TimeMsec),
    ("pid", Variable::Pid),
    ("hostname", Variable::Hostname),
    ("engine.version", Variable::EngineVersion),
];

/// A text with places for variables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template(Vec<TemplatePart>);

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TemplatePart {
    /// It is the same for all.
    Text(String),
    /// A connection fills it in.
    Variable(Variable),
    /// `${map.NAME}`: what the map of this name makes of the connection.
    Map(NameId),
    /// `${set.NAME}`: what the connection's listener sets; empty if that sets nothing of this name.
    Set(NameId),
    /// `${name}`, `${1}`: what this group of the pattern has found. Only in values of maps.
    Group(u16),
}

impl Template {
    /// Its pieces, in order.
    pub fn parts(&self) -> &[TemplatePart] {
        &self.0
    }

    /// A variable alone.
    pub(super) fn of(variable: Variable) -> Self {
        Self(vec![TemplatePart::Variable(variable)])
    }

    /// The text, if no connection changes it.
    pub fn constant(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [TemplatePart::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The variables in it, in order.
    pub fn variables(&self) -> impl Iterator<Item = Variable> {
        self.0.iter().filter_map(|part| match part {
            TemplatePart::Variable(variable) => Some(*variable),
            _ => None,
        })
    }
}

/// A text of printable characters, not empty. `$$` is a dollar sign.
pub(super) fn template(field: &Field<'_>) -> Result<Template, Reported> {
    field.text()?;
    any_template(field, &[])
}

/// Any text, in which these groups of a pattern may stand as well.
pub(super) fn any_template(
    field: &Field<'_>,
    groups: &[Option<&str>],
) -> Result<Template, Reported> {
    parse(field, field.string()?, groups)
}

/// This text, of a field that has it or a part of it.
pub(super) fn parse(
    field: &Field<'_>,
    mut rest: &str,
    groups: &[Option<&str>],
) -> Result<Template, Reported> {
    let (mut parts, mut text) = (Vec::new(), String::new());
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            text.push('$');
            rest = after;
            continue;
        }
        let named = after.strip_prefix('{').and_then(|it| it.split_once('}'));
        let Some((name, after)) = named else {
            return Err(field.refuse(
                format!("`{}`: a `$` begins no variable", field.key),
                "write ${client.address}, or $$ for a dollar sign",
            ));
        };
        if !text.is_empty() {
            parts.push(TemplatePart::Text(std::mem::take(&mut text)));
        }
        parts.push(part(field, name, groups)?);
        rest = after;
    }
    text.push_str(rest);
    if !text.is_empty() {
        parts.push(TemplatePart::Text(text));
    }
    if parts.len() > MOST_PARTS {
        let message = format!("`{}` has over {MOST_PARTS} parts", field.key);
        return Err(field.refuse(message, "write fewer variables"));
    }
    Ok(Template(parts))
}

fn part(field: &Field<'_>, name: &str, groups: &[Option<&str>]) -> Result<TemplatePart, Reported> {
    let group = groups.iter().position(|it| *it == Some(name));
    let group = group.or_else(|| name.parse().ok().filter(|at| *at < groups.len()));
    if let Some(group) = group.and_then(|at| u16::try_from(at).ok()) {
        return Ok(TemplatePart::Group(group));
    }
    let named = |what, name: &str| {
        let place = field.value.span();
        field.report.names.name(what, name, place);
        NameId::of(name)
    };
    if let Some(name) = name.strip_prefix("map.") {
        return Ok(TemplatePart::Map(named(Named::Map, name)));
    }
    if let Some(name) = name.strip_prefix("set.") {
        return Ok(TemplatePart::Set(named(Named::Set, name)));
    }
    if let Some(name) = name.strip_prefix("match.") {
        let group = named(Named::Match, name);
        return Ok(TemplatePart::Variable(Variable::Match(group)));
    }
    variable(field, name).map(TemplatePart::Variable)
}

fn variable(field: &Field<'_>, name: &str) -> Result<Variable, Reported> {
    let of_tls = || {
        TLS_VARIABLES
            .iter()
            .map(|(name, it)| (*name, Variable::Tls(*it)))
    };
    let all = || VARIABLES.iter().copied().chain(of_tls());
    if let Some((_, variable)) = all().find(|(known, _)| *known == name) {
        return Ok(variable);
    }
    if let Some(number) = name.strip_prefix("proxy.tlv.ssl.").and_then(number) {
        return Ok(Variable::ProxySslTlv(number));
    }
    if let Some(number) = name.strip_prefix("proxy.tlv.").and_then(number) {
        return Ok(Variable::ProxyTlv(number));
    }
    let names = || all().map(|(name, _)| name);
    let hint = match near::nearest(name, names()) {
        Some(meant) => format!("did you mean ${{{meant}}}?"),
        None => "the page \"Stream proxy\" lists all variables".to_owned(),
    };
    let message = format!("`{}`: there is no variable {name:?}", field.key);
    Err(field.refuse(message, hint))
}

/// The type of a field of the PROXY header: `0xea`.
fn number(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("0x")?;
    let are_digits = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u8::from_str_radix(digits, 16).ok().filter(|_| are_digits)
}
