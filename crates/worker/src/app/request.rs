//! A request that asks for a session, and what is kept of it.

use std::borrow::Cow;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use moorline_config::{Listener, RouteKind, Routes};
use percent_encoding::percent_decode_str;

use crate::wire::accept::{Asking, LARGEST_REQUEST};
use crate::wire::{Peer, SessionTls};

/// The field by which a client says which event it has got last.
const LAST_EVENT_ID: &str = "Last-Event-ID";
/// The most fields of a head: what the gateway takes.
const FIELDS: usize = 100;

/// A request over HTTP, before it is answered: the argument of [`App::accept`], where it asks for a session, and
/// of [`App::request`], where it is for the app.
///
/// It is as the client sent it, and nothing in it is proven. Dropping it does nothing.
///
/// [`App::accept`]: crate::app::App::accept
/// [`App::request`]: crate::app::App::request
///
/// ```no_run
/// use moorline_worker::app::{Request, Response};
///
/// fn answer(request: &Request) -> Response {
///     match (request.method(), request.path()) {
///         ("GET", "/hello") => {
///             let name = request.query_value("name").unwrap_or_default();
///             Response::text(format!("hello {name}"))
///         }
///         _ => Response::new(404),
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Request {
    asking: Asking,
    listener: String,
    routed: Routed,
    method: Range<usize>,
    target: Range<usize>,
    fields: Vec<(Range<usize>, Range<usize>)>,
    body: Bytes,
}

impl Request {
    /// Reads the head. The gateway has checked it.
    pub(crate) fn new(asking: Asking, listener: Option<&Listener>) -> Self {
        let mut this = Self {
            listener: listener.map_or(String::new(), |listener| listener.name.clone()),
            routed: Routed::default(),
            method: 0..0,
            target: 0..0,
            fields: Vec::new(),
            body: Bytes::new(),
            asking,
        };
        let head = &this.asking.head[..];
        let place = |text: &str| {
            let start = text.as_ptr().addr() - head.as_ptr().addr();
            start..start + text.len()
        };
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        if !matches!(request.parse(head), Ok(httparse::Status::Complete(_))) {
            return this;
        }
        this.method = request.method.map_or(0..0, place);
        this.target = request.path.map_or(0..0, place);
        let places = request.headers.iter().map(|field| {
            let start = field.value.as_ptr().addr() - head.as_ptr().addr();
            (place(field.name), start..start + field.value.len())
        });
        this.fields = places.collect();
        if let Some(listener) = listener {
            let is_handshake = this.is_handshake();
            this.routed = Routed::new(this.path(), &listener.routes, is_handshake);
        }
        this
    }

    pub(crate) fn with_body(self, body: Bytes) -> Self {
        Self { body, ..self }
    }

    fn text(&self, place: &Range<usize>) -> &str {
        str::from_utf8(&self.asking.head[place.clone()]).unwrap_or_default()
    }

    /// The name of the listener that it came to.
    pub fn listener(&self) -> &str {
        &self.listener
    }

    /// The other end of the connection.
    pub fn peer(&self) -> &Peer {
        &self.asking.peer
    }

    /// When the connection was accepted.
    pub fn connected_at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.asking.connected_at)
    }

    /// The result of the TLS handshake; `None` if the connection is not encrypted.
    pub fn tls(&self) -> Option<&SessionTls> {
        self.asking.tls.as_deref()
    }

    /// The method, as it was sent; that of a WebSocket handshake is `GET`.
    pub fn method(&self) -> &str {
        self.text(&self.method)
    }

    /// The target as it was sent: a path, and perhaps a query.
    pub fn target(&self) -> &str {
        self.text(&self.target)
    }

    /// The path, still percent-encoded.
    pub fn path(&self) -> &str {
        split(self.target()).0
    }

    /// Whether it means to begin a WebSocket: as the gateway sees it.
    fn is_handshake(&self) -> bool {
        let mut upgrades = self
            .headers()
            .filter(|(name, _)| name.eq_ignore_ascii_case("upgrade"));
        let names_it = |value: &[u8]| {
            let mut words = value.split(|byte| *byte == b',');
            words.any(|word| word.trim_ascii().eq_ignore_ascii_case(b"websocket"))
        };
        self.method() == "GET" && upgrades.any(|(_, value)| names_it(value))
    }

    /// The path of the route that it is for, as it is in the configuration: `/chat/:room`.
    pub fn route(&self) -> &str {
        &self.routed.path
    }

    /// The part of the path that this parameter of the route stands for, decoded.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.routed.parameter(name)
    }

    /// The id of the last event that the client has, by its own word: the field `Last-Event-ID`, which browsers send when
    /// they connect again, else `last_event_id` in the query.
    pub fn last_event_id(&self) -> Option<String> {
        let field = self.header(LAST_EVENT_ID).map(str::to_owned);
        field.or_else(|| self.query_value("last_event_id"))
    }

    /// What stands behind the question mark, still percent-encoded.
    pub fn query(&self) -> Option<&str> {
        split(self.target()).1
    }

    /// The first value of this name in the query, decoded. A name without `=` has an empty value.
    pub fn query_value(&self, name: &str) -> Option<String> {
        value(self.query()?, name)
    }

    /// The first field of this name, in any case, if it is UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut named = self
            .headers()
            .filter(|(its, _)| its.eq_ignore_ascii_case(name));
        str::from_utf8(named.next()?.1).ok()
    }

    /// All fields of the head, in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let head = &self.asking.head;
        let fields = self.fields.iter();
        fields.map(move |(name, value)| (self.text(name), &head[value.clone()]))
    }

    /// The value of this cookie, as it was sent.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let fields = self
            .headers()
            .filter(|(its, _)| its.eq_ignore_ascii_case("cookie"));
        fields
            .filter_map(|(_, value)| str::from_utf8(value).ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(its, _)| *its == name)
            .map(|(_, value)| value.trim_matches('"'))
    }

    /// The body; empty if there is none, and for a WebSocket handshake.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Whether the engine itself answers it.
    pub(crate) fn is_for_engine(&self) -> bool {
        self.routed.is_for_engine
    }

    /// The part of the path below its route, still percent-encoded.
    pub(crate) fn rest(&self) -> &str {
        &self.routed.rest
    }

    /// Whether its body says that it is text.
    pub(crate) fn is_text(&self) -> bool {
        let kind = self.header("content-type").unwrap_or_default();
        kind.starts_with("text/") || kind.starts_with("application/json")
    }

    /// The body, to be kept. It shares the memory that the request came in.
    pub fn into_body(self) -> Bytes {
        self.body
    }

    /// The host that it is for, perhaps with a port.
    pub fn host(&self) -> &str {
        self.header("host").unwrap_or_default()
    }

    /// The origin of the web page that sends it. Programs that are no browsers send none, or any.
    pub fn origin(&self) -> Option<&str> {
        self.header("origin")
    }

    /// The WebSocket subprotocols that the client offers, in its order.
    pub fn protocols(&self) -> impl Iterator<Item = &str> {
        let name = "sec-websocket-protocol";
        let fields = self
            .headers()
            .filter(move |(its, _)| its.eq_ignore_ascii_case(name));
        fields
            .filter_map(|(_, value)| str::from_utf8(value).ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|name| !name.is_empty())
    }

    /// The target and these fields, as they are kept with a session.
    pub(crate) fn kept(&self, fields: &[&str]) -> Vec<u8> {
        let mut kept = self.target().as_bytes().to_vec();
        if kept.len() > LARGEST_REQUEST {
            return self.path().bytes().take(LARGEST_REQUEST).collect();
        }
        for (name, value) in self.headers() {
            if kept.len() + name.len() + value.len() + 4 > LARGEST_REQUEST {
                continue;
            }
            let mut wanted = fields.iter().chain([&LAST_EVENT_ID]);
            if wanted.any(|field| field.eq_ignore_ascii_case(name)) {
                for part in [b"\r\n", name.as_bytes(), b": ", value] {
                    kept.extend_from_slice(part);
                }
            }
        }
        kept
    }
}

/// What is kept of the request that a session began with: its target, `Last-Event-ID`, and the fields that the app has chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRequest {
    text: String,
    routed: Routed,
}

impl KeptRequest {
    pub(crate) fn new(kept: &[u8], routes: &Routes) -> Self {
        let mut this = Self {
            text: String::from_utf8_lossy(kept).into_owned(),
            routed: Routed::default(),
        };
        // Where two routes have the path they differ by no more than the names of their parameters.
        let other = Routed::new(this.path(), routes, true);
        this.routed = Routed::new(this.path(), routes, false);
        this.routed.parameters.extend(other.parameters);
        this
    }

    /// The path of the route that it is for, as it is in the configuration now.
    pub fn route(&self) -> &str {
        &self.routed.path
    }

    /// The part of the path that this parameter of the route stands for, decoded.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.routed.parameter(name)
    }

    /// As [`Request::last_event_id`].
    pub fn last_event_id(&self) -> Option<String> {
        let field = self.header(LAST_EVENT_ID).map(str::to_owned);
        field.or_else(|| self.query_value("last_event_id"))
    }

    /// The target as it was sent: a path, and perhaps a query.
    pub fn target(&self) -> &str {
        self.text.split("\r\n").next().unwrap_or_default()
    }

    /// The path, still percent-encoded.
    pub fn path(&self) -> &str {
        split(self.target()).0
    }

    /// What stands behind the question mark, still percent-encoded.
    pub fn query(&self) -> Option<&str> {
        split(self.target()).1
    }

    /// The first value of this name in the query, decoded.
    pub fn query_value(&self, name: &str) -> Option<String> {
        value(self.query()?, name)
    }

    /// The first field of this name, in any case, if it was kept.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.text.split("\r\n").skip(1);
        fields.find_map(|field| {
            let (its, value) = field.split_once(": ")?;
            its.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// What the routes of a listener make of a path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Routed {
    path: String,
    parameters: Vec<(String, String)>,
    is_for_engine: bool,
    rest: String,
}

impl Routed {
    fn new(path: &str, routes: &Routes, is_handshake: bool) -> Self {
        let found = routes.find(path, is_handshake).ok().flatten();
        let other = || routes.other_slash(path, is_handshake).ok().flatten();
        let found = found.map(|route| (path.to_owned(), route)).or_else(other);
        let Some((path, route)) = found else {
            return Self::default();
        };
        let parameters = route.path.parameters(&path).into_iter();
        Self {
            path: route.path.to_string(),
            is_for_engine: matches!(route.kind, RouteKind::Engine { .. }),
            rest: route.path.rest(&path).to_owned(),
            parameters: parameters
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        }
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        let mut parameters = self.parameters.iter();
        let found = parameters.find(|(its, _)| its == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A target's path, and its query.
fn split(target: &str) -> (&str, Option<&str>) {
    let path = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => {
            rest.find(['/', '?']).map_or("/", |at| &rest[at..])
        }
        _ => target,
    };
    let path = path.split('#').next().unwrap_or_default();
    match path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path, None),
    }
}

/// The first value of this name in a query, decoded as forms encode it.
fn value(query: &str, name: &str) -> Option<String> {
    let decode = |text: &str| {
        let text: Cow<'_, str> = match text.contains('+') {
            true => text.replace('+', " ").into(),
            false => text.into(),
        };
        percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(its, _)| decode(its) == name)
        .map(|(_, value)| decode(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(head: &str) -> Request {
        let asking = Asking {
            listener: 0,
            peer: Peer::Unix,
            connected_at: 0,
            tls: None,
            head: head.as_bytes().to_vec(),
        };
        Request::new(asking, None)
    }

    #[test]
    fn a_request_shows_its_parts() {
        let request = request(
            "GET /chat/a%20b?room=caf%c3%a9+noir&flag&room=2 HTTP/1.1\r\nHost: example.org\r\n\
             Cookie: a=1; session=\"abc\"\r\ncookie: late=x\r\nOrigin: https://example.org\r\n\
             Sec-WebSocket-Protocol: v2 , v1\r\nSec-WebSocket-Protocol: v0\r\nX-Bytes: \u{fe}\r\n\r\n",
        );
        assert_eq!((request.method(), request.path()), ("GET", "/chat/a%20b"));
        assert_eq!(request.query_value("room").as_deref(), Some("café noir"));
        assert_eq!(request.query_value("flag").as_deref(), Some(""));
        assert_eq!(request.query_value("none"), None);
        assert_eq!(request.cookie("session"), Some("abc"));
        assert_eq!(request.cookie("late"), Some("x"));
        assert_eq!(request.host(), "example.org");
        assert_eq!(request.origin(), Some("https://example.org"));
        assert_eq!(request.protocols().collect::<Vec<_>>(), ["v2", "v1", "v0"]);
        assert_eq!(request.headers().count(), 7);
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let request = request(
            "GET /ws?x=1 HTTP/1.1\r\nHost: example.org\r\nUser-Agent: a: b\r\nCookie: s\r\n\r\n",
        );
        let kept = KeptRequest::new(&request.kept(&["user-agent"]), &Routes::default());
        assert_eq!((kept.target(), kept.path()), ("/ws?x=1", "/ws"));
        assert_eq!(kept.query_value("x").as_deref(), Some("1"));
        assert_eq!(kept.header("User-agent"), Some("a: b"));
        assert_eq!(kept.header("cookie"), None);
    }

    #[test]
    fn a_head_that_is_none_shows_nothing() {
        let request = request("nonsense");
        assert_eq!((request.method(), request.path()), ("", ""));
        assert_eq!(request.headers().count(), 0);
    }
}
