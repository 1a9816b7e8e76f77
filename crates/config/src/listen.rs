//! `[[listen]]`: where the engine accepts, and the rules between a listener's keys.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use moorline_net::{Address, AddressError, Framing, HostPort};

use super::address_kind::{KEYS_OF_HTTP, is_datagram, is_http};
use super::error::Reported;
use super::known::Known;
use super::liveness::liveness;
use super::naming::TakenNames;
use super::process::{self, DEFAULT_ATTEMPTS, MAX_ATTEMPTS};
use super::relay::Relaying;
use super::tls::ListenerTls;
use super::walk::{Field, Section};
use super::watermarks::{warn_of_large_messages, watermarks};
use super::{
    Compression, Dispatch, Listener, OnCrash, OnError, RequestRules, Route, RouteKind, Routes,
    Uses, compression, datagram_relay, destination, framing, proxies, relay, request, route,
    server, server_name, stream, tls,
};

/// Far more than a handshake takes across the world and back.
const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Long enough for a slow answer to a peer that sends one request and its end.
const DEFAULT_HALF_CLOSE_TIMEOUT: Duration = Duration::from_secs(300);
const DEFAULT_MAX_SESSIONS: u64 = 100_000;
/// Handshakes of TLS of under a second on one CPU.
const DEFAULT_MAX_HANDSHAKES: u32 = 1024;
/// More sessions than the memory of any machine holds: a slip.
const MAX_SESSIONS: u64 = 10_000_000;

/// More connections a second than a machine can accept: a slip.
const MAX_ACCEPT_RATE: u64 = 1_000_000;

const HINT: &str = "write [[listen]] with double brackets, once for each listener";

pub(super) fn listeners(
    root: &Section<'_>,
    base: &Path,
    dispatch: Dispatch,
    known: Known<'_>,
) -> Result<Vec<Listener>, Reported> {
    let Some(fields) = root
        .read("listen", |field| field.array(HINT))?
        .filter(|fields| fields.len() > 0)
    else {
        let hint = r#"add [[listen]] and below it, for instance, address = "tcp://127.0.0.1:9501""#;
        return Err(root.report.file_error(
            "there is no [[listen]]: the engine would listen nowhere".into(),
            hint,
        ));
    };
    let fields: Vec<_> = fields.collect();
    // A listener is named by its place in 16 bits of a record's header, and so is a server behind one.
    let servers = fields.iter().map(server::number_behind).sum::<usize>();
    if fields.len() + servers > usize::from(u16::MAX) {
        return Err(root.report.error(
            root.place("listen"),
            "there are too many listeners and servers behind them",
            "write at most 65535 in all",
        ));
    }
    let mut taken = Taken::default();
    let listeners: Vec<_> = fields
        .iter()
        .map(|field| listener(field, base, dispatch, known, &mut taken))
        .collect();
    let listeners: Result<Vec<_>, _> = listeners.into_iter().collect();
    Ok(listeners?.into_iter().flatten().collect())
}

/// What two listeners must not have in common.
#[derive(Default)]
struct Taken {
    names: TakenNames,
    /// With the places where they are written.
    sockets: HashMap<BoundSocket, usize>,
}

/// A listener, and the servers behind it.
#[expect(clippy::too_many_lines, reason = "a line for each key")]
fn listener(
    field: &Field<'_>,
    base: &Path,
    dispatch: Dispatch,
    known: Known<'_>,
    taken: &mut Taken,
) -> Result<Vec<Listener>, Reported> {
    let section = field.section("[[listen]]", HINT)?;
    let since = field.report.names.used.borrow().len();
    let address = section.require("address", ADDRESS_HINT, |field| {
        address(&field, base, taken)
    });
    let name = name(&section, address.as_ref().ok(), taken);
    let content = content(&section, address.as_ref().ok(), base);
    let relaying = relay::relaying(&section, address.as_ref().ok(), known.upstreams);
    let tls = tls_of(&section, address.as_ref().ok(), base);
    let sizes = watermarks(&section);
    let times = times(&section);
    let failures = failures(&section);
    let attempts = section.read("attempts", |field| field.number(1..=MAX_ATTEMPTS));
    let limits = limits(&section);
    let deliver_after_close = section.read("deliver_after_close", |field| field.flag());
    let is_pinged = content.as_ref().map_or(true, Content::has_http_sessions);
    let liveness = liveness(&section, address.as_ref().ok(), is_pinged);
    let proxies = proxies::proxies(&section, address.as_ref().ok(), |it| is_http(&section, it));
    let stream = stream::rules(&section, address.as_ref().ok(), known);
    let own_dispatch = section.read("dispatch", |field| process::dispatch(&field));
    let rules = datagram_relay::rules(
        &section,
        address.as_ref().ok(),
        destination::is_written(&section),
    );
    let servers = server::servers(&section, address.as_ref().ok());
    let datagrams = check_datagrams(&section, address.as_ref().ok(), own_dispatch.as_ref().ok());
    if let (Ok(content), Ok(sizes), Ok(name)) = (&content, &sizes, &name) {
        warn_of_large_messages(&section, name, &content.framing, sizes);
    }
    section.finish()?;
    datagrams?;

    let (content, sizes, tls, times) = (content?, sizes?, tls?, times?);
    let (limits, (on_crash, on_error)) = (limits?, failures?);
    let Relaying { destination, sets } = relaying?;
    let relayed_idle = destination.as_ref().map(|_| relay::DEFAULT_IDLE_TIMEOUT);
    let servers = servers?;
    let listener = Listener {
        name: name?,
        address: with_tls(address?, tls.is_some()),
        destination,
        sets,
        names: servers.own_names(),
        host: None,
        uses: Uses::default(),
        datagrams: rules?,
        certificate: tls.as_ref().and_then(|it| it.certificate.clone()),
        tls: tls.map(|it| it.options),
        framing: content.framing,
        routes: content.routes,
        requests: content.requests,
        proxies: proxies?,
        compression: content.compression,
        idle_timeout: times.idle.or(relayed_idle),
        receive_timeout: times.receive,
        send_timeout: times.send,
        half_close_timeout: times.half_close,
        min_receive_rate: times.min_receive_rate,
        max_sessions_per_address: limits.sessions_per_address,
        accept_rate: limits.accept_rate,
        max_handshakes: limits.handshakes,
        handshake_timeout: times.handshake,
        liveness: liveness?,
        high_watermark: sizes.high,
        low_watermark: sizes.low,
        hard_limit: sizes.hard,
        on_crash,
        on_error,
        attempts: attempts?.unwrap_or(DEFAULT_ATTEMPTS),
        stream: stream?,
        max_sessions: limits.sessions,
        deliver_after_close: deliver_after_close?.unwrap_or(false),
        dispatch: own_dispatch?.unwrap_or(dispatch),
        is_retired: false,
    };
    server_name::warn_of_groups(field.report, since, &listener.name, &listener.names);
    let servers = server::of_listener(servers, &listener, base, known, &mut taken.names)?;
    Ok(std::iter::once(listener).chain(servers).collect())
}

/// The address whose scheme says that TLS is spoken, if it is.
fn with_tls(address: Address, is_encrypted: bool) -> Address {
    match address {
        Address::Tcp(host_port) if is_encrypted => Address::Tls(host_port),
        Address::Http(host_port) if is_encrypted => Address::Https(host_port),
        address => address,
    }
}

/// The timeouts of a listener, and its slowloris guard.
struct Times {
    idle: Option<Duration>,
    receive: Option<Duration>,
    send: Option<Duration>,
    half_close: Duration,
    handshake: Duration,
    min_receive_rate: Option<u64>,
}

fn times(section: &Section<'_>) -> Result<Times, Reported> {
    let idle = section.read("idle_timeout", |field| field.timeout());
    let receive = section.read("receive_timeout", |field| field.timeout());
    let send = section.read("send_timeout", |field| field.timeout());
    let half_close = section.read("half_close_timeout", |field| field.timeout());
    let handshake = section.read("handshake_timeout", |field| field.timeout());
    let min_receive_rate = section.read("min_receive_rate", |field| field.size());
    Ok(Times {
        idle: idle?,
        receive: receive?,
        send: send?,
        half_close: half_close?.unwrap_or(DEFAULT_HALF_CLOSE_TIMEOUT),
        handshake: handshake?.unwrap_or(DEFAULT_HANDSHAKE_TIMEOUT),
        min_receive_rate: min_receive_rate?,
    })
}

/// The limits of connections.
struct Limits {
    sessions: u64,
    sessions_per_address: Option<u32>,
    accept_rate: Option<u32>,
    handshakes: u32,
}

fn limits(section: &Section<'_>) -> Result<Limits, Reported> {
    let sessions = section.read("max_sessions", |field| field.number(1..=MAX_SESSIONS));
    let sessions_per_address = section.read("max_sessions_per_address", |field| {
        field.number(1..=MAX_SESSIONS)
    });
    let accept_rate = section.read("accept_rate", |field| field.number(1..=MAX_ACCEPT_RATE));
    let handshakes = section.read("max_handshakes", |field| field.number(1..=MAX_SESSIONS));
    Ok(Limits {
        sessions: sessions?.unwrap_or(DEFAULT_MAX_SESSIONS),
        sessions_per_address: sessions_per_address?,
        accept_rate: accept_rate?,
        handshakes: handshakes?.unwrap_or(DEFAULT_MAX_HANDSHAKES),
    })
}

/// What happens to a session whose handler has failed.
fn failures(section: &Section<'_>) -> Result<(OnCrash, OnError), Reported> {
    let on_crash = section.read("on_crash", |field| {
        field.choice(&[
            ("close", OnCrash::Close),
            ("redeliver", OnCrash::Redeliver),
            ("drop", OnCrash::Drop),
        ])
    });
    let on_error = section.read("on_error", |field| {
        field.choice(&[("close", OnError::Close), ("keep", OnError::Keep)])
    });
    let on_crash = on_crash?.unwrap_or(OnCrash::Close);
    let on_error = on_error?.unwrap_or(match on_crash {
        OnCrash::Drop => OnError::Keep,
        OnCrash::Close | OnCrash::Redeliver => OnError::Close,
    });
    Ok((on_crash, on_error))
}

/// Settings without a meaning for datagrams.
fn check_datagrams(
    section: &Section<'_>,
    address: Option<&Address>,
    dispatch: Option<&Option<Dispatch>>,
) -> Result<(), Reported> {
    let is_unrelayed =
        |address: &&Address| is_datagram(address) && !destination::is_written(section);
    let Some(address) = address.filter(is_unrelayed) else {
        return Ok(());
    };
    let scheme = address.scheme();
    let keys = section.refuse_keys(
        SESSION_KEYS,
        &format!("has no effect on a {scheme}:// listener: datagrams have no sessions"),
    );
    if dispatch == Some(&Some(Dispatch::Key)) {
        return Err(section.report.error(
            section.place("dispatch"),
            format!("`dispatch` by key on a {scheme}:// listener: datagrams have no sessions that could be bound to one"),
            "write \"ip-hash\" or \"sticky\", which keep a sender with one worker",
        ));
    }
    keys
}

const ADDRESS_HINT: &str = "write address = \"tcp://host:port\", or tls://, udp://, http:// or https://host:port, unix:///path or unixgram:///path";

fn address(field: &Field<'_>, base: &Path, taken: &mut Taken) -> Result<Address, Reported> {
    let text = field.text()?;
    let relative = ["unix", "unixgram"].into_iter().find_map(|scheme| {
        let path = text.strip_prefix(scheme)?.strip_prefix("://")?;
        let is_relative = !path.is_empty() && !path.starts_with(['/', '@']);
        is_relative.then(|| format!("{scheme}://{}", base.join(path).display()))
    });
    let parsed = relative.as_deref().unwrap_or(text).parse();
    let address: Address = parsed.map_err(|error: AddressError| {
        field.refuse(format!("`address`: {}", error.problem()), error.hint())
    })?;
    if let Some((problem, hint)) = unserved(&address) {
        return Err(field.refuse(format!("`address`: {problem}"), hint));
    }
    if let Some(socket) = BoundSocket::of(&address) {
        if let Some(place) = taken.sockets.get(&socket) {
            let line = field.report.line(*place);
            let message = format!("`address` is already listened on: see line {line}");
            return Err(field.refuse(message, "write another port or path"));
        }
        taken.sockets.insert(socket, field.value.span().start);
    }
    Ok(address)
}

/// Why the engine does not listen on `address`, and what to write instead. Some are only dialed.
fn unserved(address: &Address) -> Option<(String, String)> {
    let scheme = address.scheme();
    let unserved = || format!("`{scheme}` is not served by this version");
    match address {
        Address::Tcp(_)
        | Address::Tls(_)
        | Address::Udp(_)
        | Address::Http(_)
        | Address::Https(_) => None,
        Address::Unix(_) | Address::Unixgram(_) if address.socket_file().is_some() => None,
        Address::Unix(_) | Address::Unixgram(_) => Some((
            "an abstract socket is not served: no folder decides who may connect".into(),
            format!("write {scheme}:///path"),
        )),
        Address::Ws(host_port) => Some((
            "`ws` is not an address to listen on".into(),
            format!("write http://{host_port} and name the path with the key `websocket`"),
        )),
        Address::Wss(host_port) => Some((
            "`wss` is not an address to listen on".into(),
            format!("write https://{host_port} and name the path with the key `websocket`"),
        )),
        _ => Some((unserved(), "use udp://host:port".into())),
    }
}

/// What only one listener can have.
#[derive(Debug, PartialEq, Eq, Hash)]
enum BoundSocket {
    Udp(HostPort),
    Tcp(HostPort),
    File(PathBuf),
}

impl BoundSocket {
    /// `None`: the system gives each port 0 a port of its own.
    fn of(address: &Address) -> Option<Self> {
        if let Some(path) = address.socket_file() {
            return Some(Self::File(path.to_owned()));
        }
        let host_port = address.host_port().filter(|it| it.port != 0)?.clone();
        Some(match address {
            Address::Udp(_) => Self::Udp(host_port),
            _ => Self::Tcp(host_port),
        })
    }
}

/// The listener's name: as written, else its address as written.
fn name(
    section: &Section<'_>,
    address: Option<&Address>,
    taken: &mut Taken,
) -> Result<String, Reported> {
    let written = section.read("name", |field| field.text())?;
    let key = if written.is_some() { "name" } else { "address" };
    let name = match written {
        Some(name) => name.to_owned(),
        // Its error is reported once.
        None if address.is_none() => return Err(Reported),
        None => section.require("address", ADDRESS_HINT, |field| {
            field.text().map(str::to_owned)
        })?,
    };
    taken
        .names
        .take(section.report, section.place(key), "listener", &name)?;
    Ok(name)
}

/// TLS of a listener: by the scheme of its address, or by the key `tls`.
fn tls_of(
    section: &Section<'_>,
    address: Option<&Address>,
    base: &Path,
) -> Result<Option<ListenerTls>, Reported> {
    let protocols: &[&str] = match address {
        Some(address) if is_http(section, address) => &["http/1.1"],
        _ => &[],
    };
    let tls = section.read("tls", |field| tls::tls(&field, base, protocols))?;
    let is_chosen = tls.as_ref().is_some_and(|it| it.certificate.is_some());
    if is_chosen && !destination::is_written(section) {
        return Err(section.report.error(
            section.place("tls"),
            "`tls`: variables in the path of a certificate need `upstream` or `return`",
            "write a path without variables, or `certificates` with one for each name",
        ));
    }
    match address {
        Some(address) if is_datagram(address) => section.refuse_keys(
            &["tls"],
            &format!(
                "has no effect on a {}:// listener: datagrams are not encrypted",
                address.scheme()
            ),
        )?,
        Some(address @ (Address::Tls(_) | Address::Https(_))) if tls.is_none() => {
            return Err(section.report.error(
                section.place("address"),
                format!("a {}:// listener needs a certificate", address.scheme()),
                r#"write tls = { certificate = "cert.pem", key = "key.pem" } below it"#,
            ));
        }
        _ => {}
    }
    Ok(tls)
}

/// How a listener reads its bytes.
struct Content {
    framing: Framing,
    routes: Routes,
    requests: RequestRules,
    compression: Option<Compression>,
}

impl Content {
    /// Whether requests become sessions there.
    fn has_http_sessions(&self) -> bool {
        self.routes.sessions().next().is_some()
    }
}

const HTTP_KEYS: &[&str] = &[
    "websocket",
    "static",
    "route",
    "static_cache",
    "max_message",
    "compression",
    "origins",
    "hosts",
    "subprotocols",
];
const WEBSOCKET_KEYS: &[&str] = &["compression", "subprotocols"];
const SESSION_RULES: &[&str] = &["max_message", "origins", "hosts"];
const SESSION_KEYS: &[&str] = &[
    "on_error",
    "idle_timeout",
    "receive_timeout",
    "send_timeout",
    "half_close_timeout",
    "max_sessions",
    "deliver_after_close",
    "handshake_timeout",
    "min_receive_rate",
    "max_sessions_per_address",
    "accept_rate",
    "max_handshakes",
    "trusted_proxies",
    "proxy_protocol",
];

fn content(
    section: &Section<'_>,
    address: Option<&Address>,
    base: &Path,
) -> Result<Content, Reported> {
    let framing = section.read("framing", |field| framing::framing(&field));
    let routes = route::routes(section, base);
    let max_message = section.read("max_message", |field| field.size());
    let requests = request::rules(section);
    let compression = section.read("compression", |field| compression::compression(&field));
    // Without the address it is unknown which of them belong.
    let address = address.ok_or(Reported)?;
    match address {
        address if is_http(section, address) => check_http(section, routes.as_ref().ok())?,
        address if is_datagram(address) => {
            section.refuse_keys(
                &["framing"],
                &format!(
                    "has no effect on a {}:// listener: each datagram is a message",
                    address.scheme()
                ),
            )?;
            section.refuse_keys(HTTP_KEYS, "belongs to http:// listeners")?;
        }
        Address::Unix(_) => section.refuse_keys(
            HTTP_KEYS,
            "belongs to listeners with `websocket`, `static` or `route`",
        )?,
        _ => section.refuse_keys(HTTP_KEYS, "belongs to http:// listeners")?,
    }
    if let Ok(routes) = &routes {
        check_engine_routes(section, routes, address)?;
    }
    let (routes, max) = (routes?, max_message?.unwrap_or(framing::DEFAULT_MAX));
    // Also without sessions: a reload may give it some.
    let framing = match routes.is_empty() {
        false => Framing::WebSocket { max },
        true => framing?.unwrap_or(Framing::Raw),
    };
    Ok(Content {
        framing,
        routes,
        requests: requests?,
        compression: compression?,
    })
}

/// Settings that belong together where HTTP is spoken. Without the routes it is unknown which belong to them.
fn check_http(section: &Section<'_>, routes: Option<&Routes>) -> Result<(), Reported> {
    section.refuse_keys(
        &["framing"],
        "has no effect on an http:// listener: its sessions are of WebSocket or server-sent events",
    )?;
    if !KEYS_OF_HTTP.iter().any(|key| section.has(key)) {
        let hint = r#"write websocket = "/ws" for sessions, static = "public" for files, or [[listen.route]]"#;
        return Err(section.report.error(
            section.place("address"),
            "an http:// listener without `websocket`, `static` and `route` serves nothing",
            hint,
        ));
    }
    let has = |kind| routes.is_none_or(|routes| routes.iter().any(|route| route.kind == kind));
    if !has(RouteKind::WebSocket) {
        section.refuse_keys(WEBSOCKET_KEYS, "has no effect without `websocket`")?;
    }
    if !has(RouteKind::WebSocket) && !has(RouteKind::Events) {
        let reason = "has no effect without `websocket`, or a route of sessions";
        section.refuse_keys(SESSION_RULES, reason)?;
    }
    if !section.has("static") {
        section.refuse_keys(&["static_cache"], "has no effect without `static`")?;
    }
    Ok(())
}

/// All who can connect may do there what an app can.
fn check_engine_routes(
    section: &Section<'_>,
    routes: &Routes,
    address: &Address,
) -> Result<(), Reported> {
    let is_one = |route: &Route| matches!(route.kind, RouteKind::Engine { .. });
    if matches!(address, Address::Unix(_)) || !routes.iter().any(is_one) {
        return Ok(());
    }
    let message = "a route of kind \"engine\" belongs to unix:// listeners: the rights of their folder decide who may";
    let hint = "write it for a listener with address = \"unix:///run/chat/engine.sock\"";
    Err(section
        .report
        .error(section.place("address"), message, hint))
}
