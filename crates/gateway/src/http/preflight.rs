//! The question of a browser whether a page of another origin may ask for events with headers of its own (WHATWG Fetch,
//! "CORS-preflight request").

use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderValue};
use moorline_config::{Origins, RequestRules};

use super::answer::{Answer, empty, plain};
use crate::rules::check_origin;

/// Says whether the page may.
pub(super) fn answer(headers: &HeaderMap, rules: &RequestRules, is_encrypted: bool) -> Answer {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).unwrap_or_default();
    let origin = headers.get(header::ORIGIN);
    if let Err((status, why)) = check_origin(rules, text(header::ORIGIN), host, is_encrypted) {
        return plain(status, why);
    }
    let mut answer = empty(StatusCode::NO_CONTENT);
    let fields = answer.headers_mut();
    let get = HeaderValue::from_static("GET");
    fields.insert(header::ALLOW, get.clone());
    fields.insert(header::VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = origin else {
        return answer;
    };
    fields.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    fields.insert(header::ACCESS_CONTROL_ALLOW_METHODS, get);
    if let Some(wanted) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        fields.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    if rules.origins != Origins::Any {
        let yes = HeaderValue::from_static("true");
        fields.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
    }
    answer
}
