//! The request that asks for a WebSocket session, on a connection that has had others before.

use hyper::header::HeaderMap;
use hyper::{Request, StatusCode, Version};

use crate::upgrade::{HEAD_BYTES, Refusal, check};

/// Checks a WebSocket handshake, and writes its head anew: the loop that will have the session reads it.
pub(super) fn head_of<B>(request: &Request<B>) -> Result<Vec<u8>, Refusal> {
    let version = match request.version() {
        Version::HTTP_11 => 1,
        _ => 0,
    };
    check(
        request.method().as_str(),
        version,
        fields(request.headers()),
    )?;
    let target = request.uri().path_and_query().map_or("/", |it| it.as_str());
    let slash = if target.starts_with('/') { "" } else { "/" };
    let mut head = format!("GET {slash}{target} HTTP/1.1\r\n").into_bytes();
    for (name, value) in fields(request.headers()) {
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
