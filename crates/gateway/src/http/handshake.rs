//! The request that asks for a WebSocket session.

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap};
use hyper::{Method, Request, StatusCode};
use moorline_net::framing::websocket;

/// Checks a WebSocket handshake (RFC 6455 §4.2.1) and computes its answer.
pub(super) fn accept_key(
    request: &Request<Incoming>,
) -> Result<String, (StatusCode, &'static str)> {
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err((
            StatusCode::METHOD_NOT_ALLOWED,
            "a websocket handshake is a GET",
        ));
    }
    if request.version() < hyper::Version::HTTP_11 {
        return Err((
            StatusCode::UPGRADE_REQUIRED,
            "a websocket handshake needs HTTP/1.1",
        ));
    }
    if !has_token(headers, header::UPGRADE, "websocket")
        || !has_token(headers, header::CONNECTION, "upgrade")
    {
        return Err((StatusCode::UPGRADE_REQUIRED, "this path speaks websocket"));
    }
    if headers
        .get(header::SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version != "13")
    {
        return Err((
            StatusCode::UPGRADE_REQUIRED,
            "only websocket version 13 is spoken here",
        ));
    }
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .and_then(|key| key.to_str().ok())
        .unwrap_or_default();
    if !is_sixteen_bytes(key) {
        return Err((
            StatusCode::BAD_REQUEST,
            "the handshake has no valid Sec-WebSocket-Key",
        ));
    }
    Ok(websocket::accept_key(key))
}

/// In base64 (RFC 4648 §4).
pub(super) fn is_sixteen_bytes(key: &str) -> bool {
    let digits = key.strip_suffix("==").unwrap_or_default();
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    digits.len() == 22 && digits.bytes().all(is_digit)
}

fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| {
            value
                .split(',')
                .any(|word| word.trim().eq_ignore_ascii_case(token))
        })
}
