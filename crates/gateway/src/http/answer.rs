//! What requests are answered with.

use std::io;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};

use super::app_body::AppBody;
use super::body::FileBody;
use super::folder::is_shortage;
use super::head::BadHead;
use super::path::BadPath;

pub(super) type Answer = Response<Either<Full<Bytes>, Either<FileBody, AppBody>>>;

/// A browser takes the content for what its type says.
pub(super) const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// No content.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Either::Left(Full::default()));
    *answer.status_mut() = status;
    answer
}

/// A line of text.
pub(super) fn plain(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Either::Left(Full::from(text)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
    answer
}

/// There is no answer now, and may be one soon.
pub(super) fn busy(why: &'static str) -> Answer {
    let mut answer = plain(StatusCode::SERVICE_UNAVAILABLE, why);
    let seconds = HeaderValue::from_static("1");
    answer.headers_mut().insert(header::RETRY_AFTER, seconds);
    answer
}

/// The same, and the connection ends.
pub(super) fn last(mut answer: Answer) -> Answer {
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(header::CONNECTION, close);
    answer
}

/// The answer to a head that is not one of HTTP.
pub(super) fn refused(refusal: BadHead) -> Answer {
    last(plain(refusal.status, refusal.why))
}

/// The file is elsewhere, and stays there.
pub(super) fn moved(location: &str) -> Answer {
    let Ok(location) = HeaderValue::from_str(location) else {
        return plain(StatusCode::NOT_FOUND, "not found");
    };
    let mut answer = plain(StatusCode::PERMANENT_REDIRECT, "see the location");
    let headers = answer.headers_mut();
    headers.insert(header::LOCATION, location);
    // A reload may move it back.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

/// The answer to a path that can be no file's.
pub(super) fn bad_path(bad: BadPath) -> Answer {
    match bad {
        BadPath::Malformed => plain(StatusCode::BAD_REQUEST, "the path is not one of a file"),
        BadPath::Hidden => plain(StatusCode::NOT_FOUND, "not found"),
    }
}

/// The answer for a file that could not be opened.
pub(super) fn no_file(error: &io::Error) -> Answer {
    if is_shortage(error) {
        let why = "too many files are open, ask again later";
        return plain(StatusCode::SERVICE_UNAVAILABLE, why);
    }
    match error.kind() {
        io::ErrorKind::PermissionDenied => plain(StatusCode::FORBIDDEN, "forbidden"),
        _ => plain(StatusCode::NOT_FOUND, "not found"),
    }
}

/// The request lacks the token that its path needs: RFC 6750 §3.
pub(super) fn unauthorized(why: &'static str) -> Answer {
    let mut answer = plain(StatusCode::UNAUTHORIZED, why);
    let scheme = HeaderValue::from_static("Bearer");
    answer
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, scheme);
    answer
}

/// The path does not take requests of this method.
pub(super) fn not_allowed(why: &'static str, allowed: &'static str) -> Answer {
    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, why);
    let headers = answer.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// No session begins.
pub(super) fn no_session(status: StatusCode, why: &'static str) -> Answer {
    if status == StatusCode::METHOD_NOT_ALLOWED {
        return not_allowed(why, "GET");
    }
    let mut answer = plain(status, why);
    if status == StatusCode::UPGRADE_REQUIRED {
        let headers = answer.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        let version = HeaderValue::from_static("13");
        headers.insert(header::SEC_WEBSOCKET_VERSION, version);
    }
    answer
}
