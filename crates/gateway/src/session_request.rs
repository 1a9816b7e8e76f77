//! The request that asks for a session, checked without a socket: a WebSocket handshake (RFC 6455 §4.2.1), or a GET for
//! server-sent events (WHATWG HTML, "Server-sent events").

use hyper::StatusCode;
use moorline_config::{Listener, Route, RouteKind, Routes};
use moorline_protocol::wire::accept::LARGEST_REQUEST;

use crate::forwarded::ForwardedFields;
use crate::host::is_host_and_port;

/// The longest head of a request in bytes.
pub(crate) const HEAD_BYTES: usize = 16 * 1024;
/// The most header fields of a request: what hyper takes, too.
const FIELDS: usize = 100;

/// The field by which a client says which event it has got last.
const LAST_EVENT_ID: &str = "Last-Event-ID";

/// The head of a request, as far as it has come.
pub(crate) enum Head<'a> {
    /// It is not whole.
    Unfinished,
    /// It asks for a session, and nothing speaks against one.
    Session(SessionRequest<'a>),
    /// It asks for a session, and is wrong.
    Wrong(Refusal),
    /// It asks for something else, or is no request.
    Other,
}

/// The sessions that begin as requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionKind {
    WebSocket,
    /// Server-sent events.
    Events,
}

impl SessionKind {
    /// What a route begins, if it begins sessions.
    pub(crate) fn of(route: &Route) -> Option<Self> {
        match route.kind {
            RouteKind::WebSocket => Some(Self::WebSocket),
            RouteKind::Events => Some(Self::Events),
            _ => None,
        }
    }
}

/// What a request for a session wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wants<'a> {
    /// A WebSocket, with the client's key.
    WebSocket { key: &'a str },
    /// Server-sent events. A client of HTTP/1.0 knows no chunks.
    Events { chunked: bool },
}

/// A request for a session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SessionRequest<'a> {
    /// The length of its head in bytes.
    pub(crate) length: usize,
    /// What it asks for: a path, and perhaps a query.
    pub(crate) target: &'a str,
    pub(crate) wants: Wants<'a>,
    /// The host that it is for.
    pub(crate) host: &'a str,
    /// The origin of the web page that sends it.
    pub(crate) origin: Option<&'a str>,
    /// A web page of another site sends it, without an origin (W3C Fetch Metadata Request Headers): as an image, or a frame.
    pub(crate) is_embedded: bool,
    /// The last event that the client has, by its own word.
    pub(crate) last_event_id: Option<&'a str>,
    /// The subprotocols that the client offers, in its order.
    pub(crate) protocols: Vec<&'a str>,
    /// The extensions that the client offers: the values of its fields.
    pub(crate) extensions: Vec<&'a str>,
    /// In which proxies name the client.
    pub(crate) forwarded: ForwardedFields<'a>,
    /// Whether the client's own connection is encrypted, if a proxy says so.
    pub(crate) is_encrypted: Option<bool>,
}

/// Why a request begins no session: the status of the answer, and its text.
pub(crate) type Refusal = (StatusCode, &'static str);

/// Reads the head of a request from bytes that came from its client.
pub(crate) fn read_head<'a>(received: &'a [u8], listener: &Listener) -> Head<'a> {
    if listener.routes.sessions().next().is_none() {
        return Head::Other;
    }
    let mut fields = [const { std::mem::MaybeUninit::uninit() }; FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(received, &mut fields) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Head::Unfinished,
        Err(_) => return Head::Other,
    };
    let (Some(method), Some(target), Some(version)) =
        (request.method, request.path, request.version)
    else {
        return Head::Other;
    };
    let fields = request.headers.iter().map(|it| (it.name, it.value));
    let found = Found::read(fields);
    let is_handshake = found.is_handshake(method);
    if !target.starts_with('/') {
        // It must be looked at more closely.
        return Head::Other;
    }
    let Some(kind) =
        path_of(target).and_then(|path| asked_for(&listener.routes, path, is_handshake))
    else {
        return Head::Other;
    };
    match check(kind, method, version, found) {
        Ok(asked) => Head::Session(SessionRequest {
            length,
            target,
            ..asked
        }),
        Err(refusal) if refusal.0 == StatusCode::BAD_REQUEST => Head::Wrong(refusal),
        Err(_) => Head::Other,
    }
}

/// The length of a whole head at the front of these bytes.
pub(crate) fn head_length(received: &[u8]) -> Option<usize> {
    let mut fields = [const { std::mem::MaybeUninit::uninit() }; FIELDS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(received, &mut fields) {
        Ok(httparse::Status::Complete(length)) => Some(length),
        _ => None,
    }
}

/// The path of a request's target, without its query. `None`: it has none.
fn path_of(target: &str) -> Option<&str> {
    let path = match target.starts_with('/') {
        true => target,
        // The absolute form (RFC 9112 §3.2.2).
        false => {
            let (_, rest) = target.split_once("://")?;
            &rest[rest.find(['/', '?', '#']).unwrap_or(rest.len())..]
        }
    };
    let path = path.split(['?', '#']).next()?;
    Some(if path.is_empty() { "/" } else { path })
}

/// The kind of session that a request for this path asks for. The path may have a slash more or less at its
/// end: browsers follow no redirection of a handshake.
fn asked_for(routes: &Routes, path: &str, is_handshake: bool) -> Option<SessionKind> {
    if path.contains("//") {
        return None;
    }
    let found = routes.find(path, is_handshake).ok()?;
    if let Some(route) = found {
        return SessionKind::of(route);
    }
    let (_, route) = routes.other_slash(path, is_handshake).ok()??;
    SessionKind::of(route)
}

/// Checks a request for a session, apart from its target and length. `version` is the minor one of HTTP/1.
///
/// # Errors
/// The answer that says why there is no session.
pub(crate) fn check<'a>(
    kind: SessionKind,
    method: &str,
    version: u8,
    found: Found<'a>,
) -> Result<SessionRequest<'a>, Refusal> {
    let wants = match kind {
        SessionKind::WebSocket => Wants::WebSocket {
            key: check_handshake(method, version, &found)?,
        },
        SessionKind::Events => {
            if method != "GET" {
                let why = "events are read with GET";
                return Err((StatusCode::METHOD_NOT_ALLOWED, why));
            }
            Wants::Events {
                chunked: version >= 1,
            }
        }
    };
    if let Some(refusal) = found.wrong {
        return Err(refusal);
    }
    let host = match (found.host, kind) {
        // HTTP/1.0 has no such field.
        (None, SessionKind::Events) if version < 1 => Some(""),
        (host, _) => host.filter(|host| is_host_and_port(host)).and_then(text),
    };
    let host = host.ok_or((StatusCode::BAD_REQUEST, "the request has no valid Host"))?;
    if found.has_body {
        let why = "a request for a session has no body";
        return Err((StatusCode::BAD_REQUEST, why));
    }
    let origin = match found.origin {
        None => None,
        Some(origin) => {
            Some(text(origin).ok_or((StatusCode::BAD_REQUEST, "the origin is no text"))?)
        }
    };
    Ok(SessionRequest {
        length: 0,
        target: "",
        wants,
        host,
        origin,
        is_embedded: found.is_cross_site && origin.is_none(),
        last_event_id: found.last_event_id,
        protocols: found.protocols,
        extensions: found.extensions,
        forwarded: found.forwarded,
        is_encrypted: None,
    })
}

/// Checks what only a WebSocket handshake has, and returns its key.
fn check_handshake<'a>(method: &str, version: u8, found: &Found<'a>) -> Result<&'a str, Refusal> {
    if method != "GET" {
        let why = "a websocket handshake is a GET";
        return Err((StatusCode::METHOD_NOT_ALLOWED, why));
    }
    if version < 1 {
        let why = "a websocket handshake needs HTTP/1.1";
        return Err((StatusCode::UPGRADE_REQUIRED, why));
    }
    if !found.upgrades || !found.connects {
        let why = "this path speaks websocket";
        return Err((StatusCode::UPGRADE_REQUIRED, why));
    }
    if let Some(refusal) = found.wrong {
        return Err(refusal);
    }
    if found.version != Some(b"13") {
        let why = "only websocket version 13 is spoken here";
        return Err((StatusCode::UPGRADE_REQUIRED, why));
    }
    let key = found.key.and_then(text).filter(|key| is_sixteen_bytes(key));
    let why = "the handshake has no valid Sec-WebSocket-Key";
    key.ok_or((StatusCode::BAD_REQUEST, why))
}

fn text(value: &[u8]) -> Option<&str> {
    str::from_utf8(value).ok()
}

/// What the fields of a request say of a session.
#[derive(Default)]
pub(crate) struct Found<'a> {
    /// The first thing that is wrong.
    wrong: Option<Refusal>,
    /// `Upgrade` names WebSocket.
    upgrades: bool,
    /// `Connection` names the upgrade.
    connects: bool,
    has_body: bool,
    host: Option<&'a [u8]>,
    version: Option<&'a [u8]>,
    key: Option<&'a [u8]>,
    origin: Option<&'a [u8]>,
    last_event_id: Option<&'a str>,
    is_cross_site: bool,
    protocols: Vec<&'a str>,
    extensions: Vec<&'a str>,
    forwarded: ForwardedFields<'a>,
}

impl SessionRequest<'_> {
    /// What is kept of it where the app does not choose: the target, and the last event that the client has.
    pub(crate) fn kept(&self) -> Vec<u8> {
        let mut kept = self.target.as_bytes().to_vec();
        if let Some(id) = self.last_event_id {
            kept.extend_from_slice(format!("\r\n{LAST_EVENT_ID}: {id}").as_bytes());
        }
        if kept.len() > LARGEST_REQUEST {
            let path = self.target.bytes().take_while(|byte| *byte != b'?');
            return path.take(LARGEST_REQUEST).collect();
        }
        kept
    }
}

impl<'a> Found<'a> {
    /// Reads the fields of a head: names and values.
    pub(crate) fn read(fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut found = Self::default();
        for (name, value) in fields {
            if let Err(refusal) = found.note(name, value) {
                found.wrong.get_or_insert(refusal);
            }
        }
        found
    }

    /// Whether a request of this method means to begin a WebSocket.
    pub(crate) fn is_handshake(&self, method: &str) -> bool {
        method == "GET" && self.upgrades
    }

    fn note(&mut self, name: &str, value: &'a [u8]) -> Result<(), Refusal> {
        // Most fields are told from these by their length.
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") => once(&mut self.host, value)
                .map_err(|()| (StatusCode::BAD_REQUEST, "the request has two Hosts")),
            6 if name.eq_ignore_ascii_case("origin") => once(&mut self.origin, value)
                .map_err(|()| (StatusCode::BAD_REQUEST, "the request has two origins")),
            7 if name.eq_ignore_ascii_case("upgrade") => {
                self.upgrades |= has_token(value, "websocket");
                Ok(())
            }
            10 if name.eq_ignore_ascii_case("connection") => {
                self.connects |= has_token(value, "upgrade");
                Ok(())
            }
            13 if name.eq_ignore_ascii_case(LAST_EVENT_ID) => {
                self.last_event_id = text(value);
                Ok(())
            }
            14 if name.eq_ignore_ascii_case("sec-fetch-site") => {
                self.is_cross_site = matches!(value, b"cross-site" | b"same-site");
                Ok(())
            }
            14 if name.eq_ignore_ascii_case("content-length") => {
                self.has_body |= value != b"0";
                Ok(())
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                self.has_body = true;
                Ok(())
            }
            17 if name.eq_ignore_ascii_case("sec-websocket-key") => once(&mut self.key, value)
                .map_err(|()| (StatusCode::BAD_REQUEST, "the handshake has two keys")),
            21 if name.eq_ignore_ascii_case("sec-websocket-version") => {
                once(&mut self.version, value)
                    .map_err(|()| (StatusCode::BAD_REQUEST, "the handshake has two versions"))
            }
            22 if name.eq_ignore_ascii_case("sec-websocket-protocol") => {
                let words = text(value).unwrap_or_default().split(',').map(str::trim);
                self.protocols.extend(words.filter(|word| !word.is_empty()));
                Ok(())
            }
            24 if name.eq_ignore_ascii_case("sec-websocket-extensions") => {
                self.extensions.extend(text(value));
                Ok(())
            }
            _ => {
                self.forwarded.note(name, value);
                Ok(())
            }
        }
    }
}

/// Notes a field that may come once.
fn once<'a>(place: &mut Option<&'a [u8]>, value: &'a [u8]) -> Result<(), ()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(()),
    }
}

/// In base64 (RFC 4648 §4).
pub(crate) fn is_sixteen_bytes(key: &str) -> bool {
    let digits = key.strip_suffix("==").unwrap_or_default();
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    digits.len() == 22 && digits.bytes().all(is_digit)
}

/// Whether a list of words has this one.
fn has_token(list: &[u8], token: &str) -> bool {
    let mut words = list.split(|byte| *byte == b',');
    words.any(|word| word.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT: &[(&str, &str)] = &[
        ("Host", "x"),
        ("Connection", "keep-alive, Upgrade"),
        ("Upgrade", "WebSocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn checked(fields: &[(&'static str, &'static str)]) -> Result<&'static str, u16> {
        let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
        let checked = check(SessionKind::WebSocket, "GET", 1, Found::read(fields));
        let checked = checked.map_err(|(status, _)| status.as_u16())?;
        match checked.wants {
            Wants::WebSocket { key } => Ok(key),
            Wants::Events { .. } => Err(0),
        }
    }

    #[test]
    fn a_key_is_sixteen_bytes_in_base64() {
        assert!(is_sixteen_bytes("dGhlIHNhbXBsZSBub25jZQ=="));
        for wrong in [
            "",
            "==",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZ===",
            "dGhl IHNhbXBsZSBub25jZ==",
            "dGhl-HNhbXBsZSBub25jZQ==",
        ] {
            assert!(!is_sixteen_bytes(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_handshake_is_refused_for_what_it_lacks_or_has_twice() {
        assert_eq!(checked(RIGHT), Ok("dGhlIHNhbXBsZSBub25jZQ=="));
        for (left_out, status) in [(0, 400), (1, 426), (2, 426), (3, 426), (4, 400)] {
            let mut fields = RIGHT.to_vec();
            fields.remove(left_out);
            assert_eq!(checked(&fields), Err(status), "without {left_out}");
        }
        for more in [
            ("host", "y"),
            ("sec-websocket-version", "8"),
            ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
        ] {
            let fields = [RIGHT, &[more]].concat();
            assert_eq!(checked(&fields), Err(400), "{more:?}");
        }
        let fields = [RIGHT, &[("content-length", "0")]].concat();
        assert!(checked(&fields).is_ok(), "it has no body");
    }

    #[test]
    fn the_path_of_a_target_is_what_stands_before_its_query() {
        for (target, path) in [
            ("/ws", Some("/ws")),
            ("/ws?token=1", Some("/ws")),
            ("http://example.org/ws?a", Some("/ws")),
            ("http://example.org", Some("/")),
            ("http://example.org?a/ws", Some("/")),
            ("*", None),
        ] {
            assert_eq!(path_of(target), path, "{target}");
        }
    }
}
