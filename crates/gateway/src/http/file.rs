//! A file as the answer to a request.

use http_body_util::{Either, Full};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};

use super::answer::{Answer, NO_SNIFF, empty, plain};
use super::body::FileBody;
use super::conditions::{Judgement, judge, range_is_current};
use super::folder::OpenFile;
use super::range::{Part, part};
use crate::shared::http_memory::Held;

/// How much of an answer the method asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// GET.
    All,
    /// HEAD.
    Head,
}

/// Answers with the file, with a part of it, or without it if the client has it. `hold` counts the memory of a body.
pub(super) fn answer(
    file: OpenFile,
    asked: Extent,
    headers: &HeaderMap,
    cache: &HeaderValue,
    hold: impl FnOnce(usize) -> Option<Held>,
) -> Answer {
    let about = about(&file, cache);
    match judge(headers, &file.validators) {
        Judgement::Failed => {
            let why = "the file is not the one that the request is about";
            plain(StatusCode::PRECONDITION_FAILED, why)
        }
        Judgement::NotModified => {
            let mut answer = empty(StatusCode::NOT_MODIFIED);
            answer.headers_mut().extend(about);
            answer
        }
        Judgement::Send => content(file, asked, headers, about, hold),
    }
}

/// The headers that do not depend on what of the file is sent.
fn about(file: &OpenFile, cache: &HeaderValue) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CACHE_CONTROL, cache.clone());
    if let Ok(tag) = HeaderValue::from_str(&file.validators.tag) {
        headers.insert(header::ETAG, tag);
    }
    let modified = file.validators.modified.map(httpdate::fmt_http_date);
    if let Some(modified) = modified.and_then(|date| HeaderValue::from_str(&date).ok()) {
        headers.insert(header::LAST_MODIFIED, modified);
    }
    if file.content_type.is_compressible() {
        let vary = HeaderValue::from_static("accept-encoding");
        headers.insert(header::VARY, vary);
    }
    headers
}

/// The file, or the part of it that is asked for.
fn content(
    file: OpenFile,
    asked: Extent,
    headers: &HeaderMap,
    about: HeaderMap,
    hold: impl FnOnce(usize) -> Option<Held>,
) -> Answer {
    let wants_part = asked == Extent::All && range_is_current(headers, &file.validators);
    let part = match wants_part {
        true => part(headers, file.length),
        false => Part::Whole,
    };
    let whole = file.length;
    let (status, first, length) = match part {
        Part::Whole => (StatusCode::OK, 0, whole),
        Part::Bytes { first, last } => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        Part::None => return unsatisfiable(whole),
    };
    let content_type = file.content_type.value();
    let encoding = file.encoding;
    let body = match asked {
        Extent::Head => Either::Left(Full::default()),
        Extent::All => {
            let Some(held) = hold(FileBody::bytes(length)) else {
                let why = "memory_limit is reached, ask again later";
                return plain(StatusCode::SERVICE_UNAVAILABLE, why);
            };
            let body = FileBody::new(file.file, first, length, held);
            Either::Right(Either::Left(body))
        }
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.extend(about);
    headers.insert(header::CONTENT_LENGTH, length.into());
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
    if let Some(content_type) = content_type {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    if let Some(encoding) = encoding {
        let name = HeaderValue::from_static(encoding.name());
        headers.insert(header::CONTENT_ENCODING, name);
    }
    if let Part::Bytes { first, last } = part {
        content_range(headers, &format!("bytes {first}-{last}/{whole}"));
    }
    answer
}

fn unsatisfiable(whole: u64) -> Answer {
    let why = "the file has no such range";
    let mut answer = plain(StatusCode::RANGE_NOT_SATISFIABLE, why);
    content_range(answer.headers_mut(), &format!("bytes */{whole}"));
    answer
}

fn content_range(headers: &mut HeaderMap, text: &str) {
    if let Ok(range) = HeaderValue::from_str(text) {
        headers.insert(header::CONTENT_RANGE, range);
    }
}
