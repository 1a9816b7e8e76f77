//! An answer to a request.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};

pub(crate) const HTML: &str = "text/html; charset=utf-8";
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";
pub(crate) const JSON: &str = "application/json";

pub(crate) type Answer = Response<Full<Bytes>>;

/// An answer for people.
pub(crate) fn said(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    with(status, TEXT, text)
}

/// An answer of this kind. No other site may use it.
pub(crate) fn with(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// The supervisor does not answer.
pub(crate) fn silent() -> Answer {
    let text = "the engine does not answer\n";
    said(StatusCode::SERVICE_UNAVAILABLE, text)
}

/// The path has only these methods.
pub(crate) fn not_allowed(methods: &'static str, text: &'static str) -> Answer {
    let mut refused = said(StatusCode::METHOD_NOT_ALLOWED, text);
    let methods = HeaderValue::from_static(methods);
    refused.headers_mut().insert(header::ALLOW, methods);
    refused
}
