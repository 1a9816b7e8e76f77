//! The request that asks for a session, on a connection that has had others before.

use hyper::header::HeaderMap;
use hyper::{Request, StatusCode, Version};

use super::head::write;
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
    let fields = fields(request.headers());
    let head = write("GET", request.uri(), request.version(), fields);
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
