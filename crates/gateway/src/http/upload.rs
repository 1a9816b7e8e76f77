//! A body that nobody asked for.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header;
use hyper::http::request::Parts;
use tokio::time::timeout;

/// The most bytes of a body that are read and dropped, so that its client sees the answer and can ask again. A client
/// that still sends when its connection ends may lose the answer.
const BYTES: u64 = 1024 * 1024;
/// How long that may take.
const TIME: Duration = Duration::from_secs(5);

/// Reads a body to its end and drops it. False: it is too long or too slow, or has not been asked for, or its end may be
/// somewhere else for a proxy before us. Then the connection cannot have another request.
pub(super) async fn read_up(head: &Parts, body: Incoming) -> bool {
    if body.is_end_stream() {
        return true;
    }
    // Chunks: hyper passes over extensions that break RFC 9112 §7.1.1.
    let is_clear = !head.headers.contains_key(header::TRANSFER_ENCODING);
    let is_announced = head.headers.contains_key(header::EXPECT);
    let is_long = body
        .size_hint()
        .exact()
        .is_some_and(|length| length > BYTES);
    if is_announced || is_long {
        return false;
    }
    timeout(TIME, drop_all(body)).await == Ok(true) && is_clear
}

async fn drop_all(mut body: Incoming) -> bool {
    let mut left = BYTES;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return false;
        };
        let bytes = frame.data_ref().map_or(0, bytes::Bytes::len) as u64;
        let Some(rest) = left.checked_sub(bytes) else {
            return false;
        };
        left = rest;
    }
    true
}
