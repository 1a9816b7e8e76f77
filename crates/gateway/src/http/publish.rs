//! Routes of kind `publish`: a POST is an event or a message for a group, from a client with the route's token.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, header};
use percent_encoding::percent_decode_str;
use tokio::time::timeout;

use super::answer::{Answer, busy, empty, last, not_allowed, plain, unauthorized};
use crate::clock::Clock;
use crate::commands::Inbox;
use crate::history::{Content, Draft};
use crate::shared::Shared;
use crate::shared::hub::Receipt;
use moorline_config::Token;
use moorline_protocol::wire::LONGEST_NAME;
use moorline_protocol::wire::event::{LONGEST_EVENT_ID, LONGEST_EVENT_NAME, is_event_word};

/// The most bytes of a body.
const LARGEST_BODY: usize = 1024 * 1024;
/// How long a body may take.
const BODY_TIME: Duration = Duration::from_secs(30);
/// How long a request waits for those before it, whose messages have not reached all members.
const ROOM_TIME: Duration = Duration::from_secs(10);

/// A group that a request is for, and the token that it needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Publishing<'a> {
    pub(super) group: String,
    pub(super) token: &'a Token,
}

/// Sends what a request brings to all members of its group, and answers it.
pub(super) async fn publish(
    to: &Publishing<'_>,
    head: &Parts,
    body: Incoming,
    shared: &Arc<Shared>,
    loops: &[Inbox],
) -> Answer {
    // Chunks: hyper passes over extensions that break RFC 9112 §7.1.1, so where the next request begins may be disputed.
    let is_clear = !head.headers.contains_key(header::TRANSFER_ENCODING);
    match take(to, head, body, shared, loops).await {
        Ok(()) if is_clear => empty(StatusCode::NO_CONTENT),
        Ok(()) => last(empty(StatusCode::NO_CONTENT)),
        // The body may be unread.
        Err(refusal) => last(*refusal),
    }
}

async fn take(
    to: &Publishing<'_>,
    head: &Parts,
    body: Incoming,
    shared: &Arc<Shared>,
    loops: &[Inbox],
) -> Result<(), Box<Answer>> {
    if !has_token(head, to.token.reveal()) {
        return Err(unauthorized("this needs the route's token").into());
    }
    if head.method != Method::POST {
        return Err(not_allowed("a group is sent something with POST", "POST").into());
    }
    if to.group.len() > LONGEST_NAME {
        return Err(bad("a group's name has at most 255 bytes"));
    }
    let named = EventNames::read(head.uri.query().unwrap_or_default())?;
    let announced = body.size_hint().upper().unwrap_or(LARGEST_BODY as u64);
    if announced > LARGEST_BODY as u64 {
        return Err(too_large());
    }
    let by_loops = shared.held_by_loops();
    let held = shared.http_memory.try_hold(announced as usize, by_loops);
    let _held = held.ok_or_else(|| busy("memory_limit is reached, ask again later"))?;
    let bytes = read(body).await?;
    let content = named.content(head, bytes)?;
    let room = timeout(ROOM_TIME, shared.hub.room(content.len())).await;
    let room = room.ok().flatten();
    let room = room.ok_or_else(|| busy("too much is under way, ask again later"))?;
    let draft = Draft {
        group: to.group.as_bytes().into(),
        content,
        left_out: Box::default(),
    };
    let now = Clock::shared_now();
    if shared.hub.send(draft, None, Receipt::Request(room), now) {
        loops.iter().for_each(Inbox::wake);
    }
    Ok(())
}

/// What the query says about the event. Without anything, it is a plain message.
#[derive(Debug, Default, PartialEq, Eq)]
struct EventNames {
    id: Option<Box<str>>,
    name: Option<Box<str>>,
}

impl EventNames {
    fn read(query: &str) -> Result<Self, Box<Answer>> {
        let mut named = Self::default();
        for pair in query.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (place, longest) = match key {
                "id" => (&mut named.id, LONGEST_EVENT_ID),
                "event" => (&mut named.name, LONGEST_EVENT_NAME),
                _ => continue,
            };
            let value = value.replace('+', " ");
            let value = percent_decode_str(&value).decode_utf8();
            let value = value
                .ok()
                .filter(|it| it.len() <= longest && is_event_word(it));
            let value = value
                .ok_or_else(|| bad("the id or the name of an event is too long or not one line"))?;
            *place = Some(value.as_ref().into());
        }
        Ok(named)
    }

    fn content(self, head: &Parts, bytes: Vec<u8>) -> Result<Content, Box<Answer>> {
        let is_event = self.id.is_some() || self.name.is_some();
        let text = is_event || is_text(head);
        if !text {
            let bytes = bytes.into();
            return Ok(Content::Message { bytes, text });
        }
        let data = String::from_utf8(bytes).map_err(|_| bad("the body is not UTF-8"))?;
        Ok(match is_event {
            true => Content::Event {
                id: self.id.unwrap_or_default(),
                name: self.name.unwrap_or_default(),
                data: data.into(),
            },
            false => Content::Message {
                bytes: data.into_bytes().into(),
                text,
            },
        })
    }
}

/// Whether a body is text: a WebSocket client gets a text message then.
fn is_text(head: &Parts) -> bool {
    let kind = head.headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    kind.starts_with("text/") || kind == "application/json" || kind.ends_with("+json")
}

fn has_token(head: &Parts, token: &str) -> bool {
    let shown = head.headers.get(header::AUTHORIZATION);
    let shown = shown.and_then(|shown| shown.as_bytes().split_at_checked("Bearer ".len()));
    shown.is_some_and(|(scheme, shown)| {
        scheme.eq_ignore_ascii_case(b"Bearer ") && is_same(shown, token.as_bytes())
    })
}

/// Whether two secrets are the same. It takes as long whichever byte differs first.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let differences = a
        .iter()
        .zip(b)
        .fold(0, |all, (a, b)| black_box(all | (a ^ b)));
    a.len() == b.len() && differences == 0
}

async fn read(body: Incoming) -> Result<Vec<u8>, Box<Answer>> {
    let read = timeout(BODY_TIME, Limited::new(body, LARGEST_BODY).collect()).await;
    let Ok(read) = read else {
        let why = "the body has taken too long";
        return Err(plain(StatusCode::REQUEST_TIMEOUT, why).into());
    };
    match read {
        Ok(body) => Ok(body.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => Err(bad("the body could not be read")),
    }
}

fn bad(why: &'static str) -> Box<Answer> {
    plain(StatusCode::BAD_REQUEST, why).into()
}

fn too_large() -> Box<Answer> {
    let why = "the body is larger than 1 MiB";
    plain(StatusCode::PAYLOAD_TOO_LARGE, why).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(name: &str, value: &str) -> Parts {
        let request = hyper::Request::builder().header(name, value).body(());
        request.expect("it is right").into_parts().0
    }

    #[test]
    fn only_the_whole_token_counts() {
        let token = "0123456789abcdef";
        let shown = |value: &str| has_token(&head("authorization", value), token);
        assert!(shown("Bearer 0123456789abcdef"));
        assert!(shown("bearer 0123456789abcdef"));
        for other in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdef0",
            "Bearer 1123456789abcdef",
            "Basic 0123456789abcdef",
            "0123456789abcdef",
        ] {
            assert!(!shown(other), "{other:?}");
        }
        assert!(!has_token(&head("x", "Bearer 0123456789abcdef"), token));
    }

    #[test]
    fn a_query_that_names_an_event_makes_it_one() {
        let read = |query| EventNames::read(query).ok();
        let named = |id: Option<&str>, name: Option<&str>| {
            Some(EventNames {
                id: id.map(Into::into),
                name: name.map(Into::into),
            })
        };
        assert_eq!(read(""), named(None, None));
        assert_eq!(read("x=1&id=7"), named(Some("7"), None));
        assert_eq!(
            read("event=a+b%20c&id=%c5%bc"),
            named(Some("ż"), Some("a b c"))
        );
        assert_eq!(read("event"), named(None, Some("")));
        for wrong in ["id=%ff", "event=a%0ab", "id=%00"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(read(&format!("id={}", "i".repeat(129))), None);
    }

    #[test]
    fn a_body_is_text_if_its_type_says_so() {
        for (kind, expected) in [
            ("text/plain; charset=utf-8", true),
            ("Application/JSON", true),
            ("application/problem+json", true),
            ("application/octet-stream", false),
            ("", false),
        ] {
            assert_eq!(is_text(&head("content-type", kind)), expected, "{kind}");
        }
    }
}
