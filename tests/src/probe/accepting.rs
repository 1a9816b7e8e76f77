//! What the probe says to requests, as their queries tell it to.

use std::time::Duration;

use moorline::{Accept, Request, Result};

use super::Probe;
use super::order::Order;

/// The commands about the request that a session began with.
pub(super) const COMMANDS: &[&str] = &["request"];

/// Carries out one of them.
pub(super) fn obey(order: &Order<'_>) -> String {
    let Some(request) = order.session.request() else {
        return "none".to_owned();
    };
    match order.rest {
        "" => request.target().to_owned(),
        name => request.header(name).unwrap_or("none").to_owned(),
    }
}

/// Says what the values of `do` in the query ask for, one after the other.
pub(super) async fn decide(probe: &Probe, request: &Request) -> Result<Accept> {
    probe.note(format_args!(
        "accept {} {}",
        request.target(),
        std::process::id()
    ));
    let mut accept = Accept::new();
    let pairs = request.query().unwrap_or_default().split('&');
    let orders = pairs.filter_map(|pair| pair.strip_prefix("do="));
    for order in orders {
        let (verb, rest) = order.split_once(':').unwrap_or((order, ""));
        accept = match verb {
            "refuse" => Accept::refuse(rest.parse()?).header("X-Why", "asked to"),
            "body" => accept.body(rest),
            "redirect" => Accept::redirect(rest),
            "protocol" => accept.protocol(rest),
            "header" => accept.header("X-Said", rest),
            "break" => accept.header("X-Said", "a\r\nb"),
            "any-origin" => accept.any_origin(),
            "bind" => accept.bind(rest),
            "label" => accept.label(rest),
            "remember" => accept.remember(request, &[rest]),
            "cookie" => accept.label(request.cookie(rest).unwrap_or("none")),
            "peer" => accept.label(request.peer().to_string()),
            "panic" => panic!("asked to panic in accept"),
            "fail" => return Err("asked to fail in accept".into()),
            "abort" => std::process::abort(),
            "wait" => {
                tokio::time::sleep(Duration::from_millis(rest.parse()?)).await;
                accept
            }
            _ => return Err(format!("there is no order {verb:?}").into()),
        };
    }
    Ok(accept)
}
