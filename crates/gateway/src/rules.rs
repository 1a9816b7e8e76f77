//! Which requests a listener's rules let through, where the app does not decide.

use hyper::StatusCode;
use moorline_config::{Origins, Pattern, RequestRules};

use crate::session_request::{Refusal, SessionRequest};

/// Whether the listener serves the host that a request is for.
///
/// # Errors
/// The answer that says why not.
pub(crate) fn check_host(rules: &RequestRules, host: &str) -> Result<(), Refusal> {
    let name = match host.rsplit_once(':') {
        // A pattern without a port fits any.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let fits = |pattern: &Pattern| pattern.fits("", host) || pattern.fits("", name);
    match rules.hosts.is_empty() || rules.hosts.iter().any(fits) {
        true => Ok(()),
        false => Err((
            StatusCode::MISDIRECTED_REQUEST,
            "this host is not served here",
        )),
    }
}

/// Whether the web page that sends a request may open sessions, if it is one.
///
/// # Errors
/// The answer that says why not.
pub(crate) fn check_page(
    rules: &RequestRules,
    request: &SessionRequest<'_>,
    is_encrypted: bool,
) -> Result<(), Refusal> {
    if request.is_embedded && rules.origins != Origins::Any {
        let why = "pages of other sites may not open sessions here: see `origins`";
        return Err((StatusCode::FORBIDDEN, why));
    }
    check_origin(rules, request.origin, request.host, is_encrypted)
}

/// Whether a web page of this origin may open sessions. Without an origin it is no web page.
///
/// # Errors
/// The answer that says why not.
pub(crate) fn check_origin(
    rules: &RequestRules,
    origin: Option<&str>,
    host: &str,
    is_encrypted: bool,
) -> Result<(), Refusal> {
    let Some(origin) = origin else {
        return Ok(());
    };
    let is_allowed = match &rules.origins {
        Origins::Any => true,
        Origins::Same => is_same(origin, host, is_encrypted),
        Origins::These(patterns) => {
            is_same(origin, host, is_encrypted)
                || patterns.iter().any(|pattern| fits(pattern, origin))
        }
    };
    match is_allowed {
        true => Ok(()),
        false => Err((
            StatusCode::FORBIDDEN,
            "web pages of this origin may not open sessions here: see `origins`",
        )),
    }
}

fn fits(pattern: &Pattern, origin: &str) -> bool {
    let Some((scheme, rest)) = origin.split_once("://") else {
        return false;
    };
    pattern.fits(&origin[..scheme.len() + 3], rest)
}

/// Whether a page was loaded from the host that it opens the session at. Schemes differ behind a proxy that ends TLS, so
/// they count only for the port. An encrypted session is only for encrypted pages: anybody on the way can forge others.
fn is_same(origin: &str, host: &str, is_encrypted: bool) -> bool {
    let Some((scheme, page)) = origin.split_once("://") else {
        return false;
    };
    let port = match scheme {
        "https" => "443",
        _ if is_encrypted => return false,
        _ => "80",
    };
    let (page, host) = (split(page), split(host));
    let port_of = |port_found: Option<&str>| port_found.unwrap_or(port).to_owned();
    page.0.eq_ignore_ascii_case(host.0) && port_of(page.1) == port_of(host.1)
}

/// A host and its port, if that is named.
fn split(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port))
            if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            (name, Some(port))
        }
        _ => (host, None),
    }
}

/// The subprotocol of sessions that can be resumed: text messages to the client are in JSON.
pub(crate) const RESUME: &str = "moorline.resume.v1";

/// The first subprotocol of the rules that the client offers; else the engine's own, if it does.
pub(crate) fn choose_protocol<'a>(rules: &'a RequestRules, offered: &[&str]) -> Option<&'a str> {
    let mut spoken = rules.subprotocols.iter();
    let chosen = spoken.find(|protocol| offered.contains(&protocol.as_str()));
    let own = || offered.contains(&RESUME).then_some(RESUME);
    chosen.map(String::as_str).or_else(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(rules: &RequestRules, origin: &str, host: &str) -> bool {
        check_origin(rules, Some(origin), host, false).is_ok()
    }

    #[test]
    fn a_page_of_the_same_host_and_port_may_open_sessions() {
        let rules = RequestRules::default();
        for (origin, host) in [
            ("http://a.example", "a.example"),
            ("http://a.example", "A.example:80"),
            ("https://a.example", "a.example:443"),
            ("http://a.example:8080", "a.example:8080"),
            ("http://[::1]:8080", "[::1]:8080"),
        ] {
            assert!(allows(&rules, origin, host), "{origin} at {host}");
        }
        for (origin, host) in [
            ("null", "a.example"),
            ("http://b.example", "a.example"),
            ("http://a.example:81", "a.example"),
            ("http://a.example", "a.example:8080"),
            ("https://a.example.evil", "a.example"),
            ("a.example", "a.example"),
        ] {
            assert!(!allows(&rules, origin, host), "{origin} at {host}");
        }
        assert!(check_origin(&rules, None, "a.example", false).is_ok());
        let forged = "http://a.example";
        assert!(check_origin(&rules, Some(forged), "a.example", true).is_err());
        assert!(check_origin(&rules, Some("https://a.example"), "a.example", true).is_ok());
    }

    #[test]
    fn other_pages_may_where_the_rules_name_them() {
        let these = ["https://b.example", "https://*.c.example"];
        let these = these.map(|text| Pattern::parse(text).expect("it is right"));
        let rules = RequestRules {
            origins: Origins::These(these.into()),
            ..RequestRules::default()
        };
        assert!(allows(&rules, "https://b.example", "a.example"));
        assert!(allows(&rules, "https://x.c.example", "a.example"));
        assert!(allows(&rules, "https://a.example", "a.example"));
        assert!(!allows(&rules, "http://b.example", "a.example"));
        let any = RequestRules {
            origins: Origins::Any,
            ..RequestRules::default()
        };
        assert!(allows(&any, "null", "a.example"));
    }

    #[test]
    fn a_host_is_served_if_a_pattern_fits_it_with_or_without_its_port() {
        let hosts = ["a.example", "*.b.example", "c.example:81"];
        let hosts = hosts.map(|text| Pattern::parse(text).expect("it is right"));
        let rules = RequestRules {
            hosts: hosts.into(),
            ..RequestRules::default()
        };
        for host in ["a.example", "A.example:8080", "x.b.example", "c.example:81"] {
            assert!(check_host(&rules, host).is_ok(), "{host}");
        }
        for host in ["", "b.example", "c.example", "a.example.evil"] {
            assert!(check_host(&rules, host).is_err(), "{host}");
        }
        assert!(check_host(&RequestRules::default(), "any").is_ok());
    }

    #[test]
    fn the_first_subprotocol_of_the_rules_that_is_offered_is_chosen() {
        let rules = RequestRules {
            subprotocols: vec!["new".into(), "old".into()],
            ..RequestRules::default()
        };
        assert_eq!(choose_protocol(&rules, &["old", "new"]), Some("new"));
        assert_eq!(choose_protocol(&rules, &["old"]), Some("old"));
        assert_eq!(choose_protocol(&rules, &["other"]), None);
    }
}
