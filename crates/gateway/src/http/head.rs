//! The head of a request: what each one must have, whatever it asks for.
//!
//! No I/O, and nothing of hyper's connection: any parser that yields a method, a target and headers can be followed by
//! [`check`].

use hyper::header::{self, HeaderMap};
use hyper::http::uri::Authority;
use hyper::{Method, StatusCode, Uri, Version};

use crate::host::is_host_and_port;

/// Why a request is not served. The connection ends after the answer: where its next request begins is in doubt, or
/// its client is no HTTP client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadHead {
    pub(crate) status: StatusCode,
    pub(crate) why: &'static str,
}

const fn bad(why: &'static str) -> BadHead {
    BadHead {
        status: StatusCode::BAD_REQUEST,
        why,
    }
}

/// Checks the target, `Host` and the announcement of the body (RFC 9112 §3.2, §6).
///
/// # Errors
/// The request is answered with the refusal, and its connection ends.
pub(crate) fn check(
    method: &Method,
    target: &Uri,
    version: Version,
    headers: &HeaderMap,
) -> Result<(), BadHead> {
    check_target(method, target)?;
    check_host(version, headers)?;
    check_body(version, headers)
}

/// Writes a head anew, with its target in origin form. Where the target names the host, that counts (RFC 9112 §3.2.2).
pub(crate) fn write<'a>(
    method: &str,
    target: &Uri,
    version: Version,
    fields: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> Vec<u8> {
    let authority = target.authority();
    let target = target.path_and_query().map_or("/", |it| it.as_str());
    let slash = match target {
        "*" => "",
        target if target.starts_with('/') => "",
        _ => "/",
    };
    let version = match version {
        Version::HTTP_11 => "1.1",
        _ => "1.0",
    };
    let mut head = format!("{method} {slash}{target} HTTP/{version}\r\n").into_bytes();
    for (name, value) in fields {
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
    head
}

/// In origin form or absolute form; `*` is for OPTIONS alone.
fn check_target(method: &Method, target: &Uri) -> Result<(), BadHead> {
    if *method == Method::CONNECT {
        return Err(BadHead {
            status: StatusCode::NOT_IMPLEMENTED,
            why: "this is no proxy",
        });
    }
    if let Some(authority) = target.authority() {
        let is_web = matches!(target.scheme_str(), Some("http" | "https"));
        if !is_web || !is_host(authority) {
            return Err(bad(
                "the target of the request is not a path or an http URL",
            ));
        }
    }
    match target.path() {
        "*" if *method == Method::OPTIONS => Ok(()),
        path if path.starts_with('/') => Ok(()),
        _ => Err(bad(
            "the target of the request is not a path or an http URL",
        )),
    }
}

fn is_host(authority: &Authority) -> bool {
    is_host_and_port(authority.as_str().as_bytes())
}

fn check_host(version: Version, headers: &HeaderMap) -> Result<(), BadHead> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_host_and_port(host.as_bytes()) => Ok(()),
        (Some(_), None) => Err(bad("the Host header is not a host")),
        (None, _) if version < Version::HTTP_11 => Ok(()),
        (None, _) => Err(bad("the request has no Host header")),
        (Some(_), Some(_)) => Err(bad("the request has more than one Host header")),
    }
}

fn check_body(version: Version, headers: &HeaderMap) -> Result<(), BadHead> {
    let lengths = headers.get_all(header::CONTENT_LENGTH);
    let is_number = |length: &[u8]| !length.is_empty() && length.iter().all(u8::is_ascii_digit);
    if !lengths.iter().all(|length| is_number(length.as_bytes())) {
        return Err(bad("the Content-Length header is not a number"));
    }
    let mut others = lengths.iter();
    let first = others.next();
    if others.any(|other| Some(other) != first) {
        return Err(bad("the request has several lengths"));
    }
    if !headers.contains_key(header::TRANSFER_ENCODING) {
        return Ok(());
    }
    if version < Version::HTTP_11 || first.is_some() {
        return Err(bad("the request announces its body in two ways"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    /// The status of the refusal, or 200.
    fn status(method: &str, target: &str, version: Version, headers: &[(&str, &str)]) -> u16 {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let target = target.parse().unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: header::HeaderName = name.parse().unwrap();
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        check(&method, &target, version, &map)
            .map_or_else(|refusal| refusal.status.as_u16(), |()| 200)
    }

    const HOST: (&str, &str) = ("host", "example.com");

    #[test]
    fn a_request_has_one_host_and_before_http_1_1_at_most_one() {
        let get = |version, headers: &[_]| status("GET", "/", version, headers);
        assert_eq!(get(Version::HTTP_11, &[HOST]), 200);
        assert_eq!(get(Version::HTTP_11, &[]), 400);
        assert_eq!(get(Version::HTTP_11, &[HOST, HOST]), 400);
        assert_eq!(get(Version::HTTP_10, &[]), 200);
        assert_eq!(get(Version::HTTP_10, &[HOST]), 200);
        assert_eq!(get(Version::HTTP_10, &[HOST, HOST]), 400);
        assert_eq!(get(Version::HTTP_10, &[("host", "a b")]), 400);
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_may_have_a_port() {
        for host in [
            "a",
            "a.example:80",
            "a_b.example:",
            "127.0.0.1:65535",
            "[::1]",
            "[2001:db8::1]:443",
            "xn--fsq.example",
            "%e4%b8%ad:1",
        ] {
            assert!(is_host_and_port(host.as_bytes()), "{host}");
        }
        for host in [
            "", ":80", "a b", "a:b", "a:1:2", "a:65536", "a:-1", "me@a", "a/b", "a?b", "a#b",
            "a\\b", "%zz", "%4", "[::1", "[]", "[a]", "[::1]a", "::1", "ä",
        ] {
            assert!(!is_host_and_port(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn a_target_is_a_path_or_an_http_url() {
        let target = |method, target| status(method, target, Version::HTTP_11, &[HOST]);
        for good in ["/", "/a?b", "http://other.example/a", "https://a:1", "//a"] {
            assert_eq!(target("GET", good), 200, "{good}");
        }
        for wrong in [
            "*",
            "a.example:80",
            "ftp://a/",
            "http://me@a/",
            "http://a:b/",
        ] {
            let parsed = wrong.parse::<Uri>();
            assert!(
                parsed.is_err() || target("GET", wrong) == 400,
                "{wrong} is taken"
            );
        }
        assert_eq!(target("OPTIONS", "*"), 200);
        assert_eq!(target("CONNECT", "a.example:80"), 501);
    }

    #[test]
    fn a_body_is_announced_in_one_way() {
        let post = |version, headers: &[(&'static str, &'static str)]| {
            status("POST", "/", version, &[&[HOST], headers].concat())
        };
        let chunked = ("transfer-encoding", "chunked");
        let length = |length| ("content-length", length);
        assert_eq!(post(Version::HTTP_11, &[length("5")]), 200);
        assert_eq!(post(Version::HTTP_11, &[length("5"), length("5")]), 200);
        assert_eq!(post(Version::HTTP_11, &[chunked]), 200);
        assert_eq!(post(Version::HTTP_11, &[length("5"), length("6")]), 400);
        for wrong in ["+5", "-1", "", "5, 5", "0x5", "5 "] {
            assert_eq!(post(Version::HTTP_11, &[length(wrong)]), 400, "{wrong:?}");
        }
        assert_eq!(post(Version::HTTP_11, &[length("5"), chunked]), 400);
        assert_eq!(post(Version::HTTP_10, &[chunked]), 400);
    }
}
