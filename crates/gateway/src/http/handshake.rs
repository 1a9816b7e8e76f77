//! The request that asks for a session, on a connection that has had others before.

use hyper::header::HeaderMap;
use hyper::{Request, StatusCode, Version};

use crate::session_request::{Found, HEAD_BYTES, Refusal, SessionKind, check};

/// Whether it means to begin a WebSocket.
pub(super) fn is_one<B>(request: &Request<B>) -> bool {
    Found::read(fields(request.headers())).is_handshake(request.method().as_str())
}

/// Checks a request for a session, and writes its head anew: the loop that will have the session reads it.
pub(super) fn head_of<B>(request: &Request<B>, kind: SessionKind) -> Result<Vec<u8>, Refusal> {
    let version = match request.version() {
        Version::HTTP_11 => 1,
        _ => 0,
    };
    let found = Found::read(fields(request.headers()));
    check(kind, request.method().as_str(), version, found)?;
    let target = request.uri().path_and_query().map_or("/", |it| it.as_str());
    let slash = if target.starts_with('/') { "" } else { "/" };
    let mut head = format!("GET {slash}{target} HTTP/1.{version}\r\n").into_bytes();
    let authority = request.uri().authority();
    for (name, value) in fields(request.headers()) {
        // RFC 9112 §3.2.2: where the target names the host, it counts.
        let value = match authority {
            Some(authority) if name == "host" => authority.as_str().as_bytes(),
            _ => value,
        };
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    if head.len() > HEAD_BYTES {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err((status, "the head of the request is too long"));
    }
    Ok(head)
}

fn fields(headers: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
}
