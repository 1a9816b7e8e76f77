//! Requests that change something: `POST /act`.
//!
//! A page of another site cannot make one: it could not send the `Authorization` header or this type of a body without leave, and
//! nothing here gives that. Cookies mean nothing here.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use moorline_protocol::command::{self, Denied, Response, ShownToken};
use tokio::time::timeout;

use crate::answer::{Answer, JSON, not_allowed, said, silent, with};
use crate::engine::{Engine, json};
use crate::stream::NoAnswer;

/// An act is a short object.
const BODY_BYTES: usize = 4 << 10;
/// How long its body may take.
const BODY_TIME: Duration = Duration::from_secs(5);

/// Has the supervisor do what the body says: a request of the control socket, as JSON.
pub(crate) async fn answer(
    request: Request<Incoming>,
    from: SocketAddr,
    engine: &Engine,
) -> Answer {
    if *request.method() != Method::POST {
        return not_allowed("POST", "only POST\n");
    }
    let (head, body) = request.into_parts();
    if let Some(refused) = refuse(&head) {
        return refused;
    }
    let Some(token) = shown(&head) else {
        return denied(Denied::NoToken, Denied::NoToken.reason().to_owned());
    };
    let body = timeout(BODY_TIME, Limited::new(body, BODY_BYTES).collect()).await;
    let Ok(Ok(body)) = body else {
        return said(
            StatusCode::BAD_REQUEST,
            "the body is too long or too late\n",
        );
    };
    let body: Bytes = body.to_bytes();
    let request: command::Request = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return said(StatusCode::BAD_REQUEST, format!("no such act: {error}\n")),
    };
    match engine.act(request, ShownToken { token, from }).await {
        Ok(Some(answer)) => match (answer.denied, answer.response) {
            (Some(why), Response::Refused(reason)) => denied(why, reason),
            (_, response @ Response::Done(_)) => with(StatusCode::OK, JSON, json(&response)),
            (_, response) => with(StatusCode::CONFLICT, JSON, json(&response)),
        },
        Ok(None) => {
            let text = "it goes on; the status shows how far it is".to_owned();
            let response = Response::Progress(text);
            with(StatusCode::ACCEPTED, JSON, json(&response))
        }
        Err(NoAnswer) => silent(),
    }
}

/// Refuses what a page of another site might send, and other types of bodies.
fn refuse(head: &Parts) -> Option<Answer> {
    let header = |name| head.headers.get(name).and_then(|it| it.to_str().ok());
    if let Some(origin) = head.headers.get(header::ORIGIN) {
        let site = origin.to_str().ok().and_then(|it| it.split_once("://"));
        let is_own = site.is_some_and(|(_, site)| Some(site) == header(header::HOST));
        if !is_own {
            let text = "a page of another site asks for this\n";
            return Some(said(StatusCode::FORBIDDEN, text));
        }
    }
    let kind = header(header::CONTENT_TYPE).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case(JSON) {
        let text = "send JSON, with the content type application/json\n";
        return Some(said(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    None
}

/// The token in `Authorization`: RFC 6750, section 2.1.
fn shown(head: &Parts) -> Option<String> {
    let value = head.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("Bearer")
        .then(|| token.trim().to_owned())
}

fn denied(why: Denied, reason: String) -> Answer {
    let status = match why {
        Denied::ReadOnly | Denied::NotOffered => StatusCode::FORBIDDEN,
        Denied::NoToken | Denied::WrongToken => StatusCode::UNAUTHORIZED,
        Denied::TooMany => StatusCode::TOO_MANY_REQUESTS,
    };
    let mut answer = with(status, JSON, json(&Response::Refused(reason)));
    if status == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static("Bearer");
        answer
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, scheme);
    }
    answer
}
