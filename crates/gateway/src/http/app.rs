//! Requests that the app answers.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode, Version};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Site;
use super::answer::{Answer, busy, last, plain};
use super::app_body::{AppBody, Ticket};
use super::head;
use super::watched::Answering;
use crate::exchange::{Answered, AppRequest, Failure, RequestContent};
use crate::forwarded::{ForwardedFields, OpenQuote, forwarded, trusts};
use crate::shared::http_memory::Held;
use moorline_config::Proxies;
use moorline_protocol::wire::accept::Asking;
use moorline_protocol::wire::exchange::{AnswerHead, write_request};
use moorline_protocol::wire::{Peer, SessionTls};

/// The fields that describe a connection or how a body came over it: the app gets neither.
const OF_CONNECTION: &[&str] = &[
    "connection",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The facts of a connection, for the app.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) peer: Peer,
    /// The peer is a proxy, whose requests are other clients'.
    pub(super) is_proxy: bool,
    /// Milliseconds since the Unix epoch.
    pub(super) connected_at: u64,
    pub(super) tls: Option<Box<SessionTls>>,
}

/// How much of a body is read, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) bytes: u64,
    pub(super) time: Duration,
}

/// Why a body is not read to its end.
enum Unread {
    TooLarge,
    TooSlow,
    Broken,
    Memory,
}

impl Site {
    /// Has the app answer a request. The client is told why there is no answer of the app's.
    pub(super) async fn ask(
        &self,
        head: Parts,
        body: Incoming,
        bounds: Bounds,
        (peer, caller): (Peer, &Caller),
        answering: Answering,
    ) -> Answer {
        // hyper passes over extensions of chunks that break RFC 9112 §7.1.1: a proxy may see another end.
        let is_doubtful = head.headers.contains_key(header::TRANSFER_ENCODING);
        let is_head = head.method == Method::HEAD;
        let is_old = head.version < Version::HTTP_11;
        let mut payload = write_request(&self.asking(&head, peer.clone(), caller));
        let memory = &self.shared.http_memory;
        let Some(mut held) = memory.try_hold(payload.len(), self.shared.held_by_loops()) else {
            return last(no_answer(Failure::Memory));
        };
        let reading = self.read(body, &mut payload, &mut held, bounds.bytes);
        match timeout(bounds.time, reading)
            .await
            .unwrap_or(Err(Unread::TooSlow))
        {
            Ok(()) => {}
            Err(unread) => return last(unread.answer()),
        }
        let content = RequestContent {
            payload: payload.into(),
            _held: held,
        };
        let ticket = Ticket::new(self.loops.clone(), self.shared.next_request(), answering);
        let (answer, answered) = oneshot::channel();
        ticket.ask(AppRequest {
            number: ticket.number(),
            listener: self.listener,
            peer,
            is_head,
            content,
            answer,
        });
        // A loop ends only with the process.
        let answered = answered.await.unwrap_or(Answered::Failed(Failure::Died));
        let answer = written(answered, ticket, is_head);
        // HTTP/1.0 knows no chunks: the end of the connection ends a body without a length, whatever the client asks for.
        let ends_it = is_old && answer.body().size_hint().exact().is_none();
        match is_doubtful || ends_it {
            true => last(answer),
            false => answer,
        }
    }

    fn asking(&self, head: &Parts, peer: Peer, caller: &Caller) -> Asking {
        let fields = head.headers.iter();
        let fields = fields.filter(|(name, _)| !OF_CONNECTION.contains(&name.as_str()));
        let fields = fields.map(|(name, value)| (name.as_str(), value.as_bytes()));
        Asking {
            listener: self.listener.0,
            peer,
            connected_at: caller.connected_at,
            tls: caller.tls.clone(),
            head: head::write(head.method.as_str(), &head.uri, head.version, fields),
        }
    }

    /// Appends a body to a payload.
    async fn read(
        &self,
        mut body: Incoming,
        payload: &mut Vec<u8>,
        held: &mut Held,
        most: u64,
    ) -> Result<(), Unread> {
        let announced = body.size_hint().exact().unwrap_or(0);
        if announced > most {
            return Err(Unread::TooLarge);
        }
        let mut left = most;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Unread::Broken)?;
            // Trailers are dropped.
            let Ok(bytes) = frame.into_data() else {
                continue;
            };
            left = left
                .checked_sub(bytes.len() as u64)
                .ok_or(Unread::TooLarge)?;
            if !held.grow(bytes.len(), self.shared.held_by_loops()) {
                return Err(Unread::Memory);
            }
            payload.extend_from_slice(&bytes);
        }
        Ok(())
    }
}

impl Caller {
    /// Whose request this is: the peer's own, or that of the client which a trusted proxy names.
    ///
    /// # Errors
    /// That cannot be read.
    pub(super) fn client(&self, proxies: &Proxies, headers: &HeaderMap) -> Result<Peer, OpenQuote> {
        if !self.is_proxy || !trusts(proxies, &self.peer) {
            return Ok(self.peer.clone());
        }
        let mut fields = ForwardedFields::default();
        for (name, value) in headers {
            fields.note(name.as_str(), value.as_bytes());
        }
        let client = forwarded(proxies, &fields)?.client;
        Ok(client.map_or_else(|| self.peer.clone(), Peer::Ip))
    }
}

impl Unread {
    fn answer(self) -> Answer {
        match self {
            Unread::TooLarge => plain(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long"),
            Unread::TooSlow => plain(StatusCode::REQUEST_TIMEOUT, "the body comes too slowly"),
            Unread::Broken => plain(StatusCode::BAD_REQUEST, "the body is broken"),
            Unread::Memory => no_answer(Failure::Memory),
        }
    }
}

fn no_answer(failure: Failure) -> Answer {
    match failure {
        Failure::Hook => plain(StatusCode::INTERNAL_SERVER_ERROR, "the app has failed"),
        Failure::Died => plain(StatusCode::BAD_GATEWAY, "the app has failed"),
        Failure::Busy => busy("too many requests wait, ask again later"),
        Failure::Memory => busy("memory_limit is reached, ask again later"),
    }
}

/// The answer as hyper writes it.
fn written(answered: Answered, mut ticket: Ticket, is_head: bool) -> Answer {
    let (head, first, rest) = match answered {
        Answered::Head { head, first, rest } => (head, first, rest),
        Answered::Failed(failure) => {
            ticket.is_used_up();
            return no_answer(failure);
        }
    };
    let AnswerHead {
        status,
        fields,
        length,
    } = head;
    let body = match is_head {
        true => {
            ticket.is_used_up();
            Either::Left(Full::default())
        }
        false => Either::Right(Either::Right(AppBody::new(ticket, first, rest, length))),
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = answer.headers_mut();
    for (name, value) in fields {
        // They were checked.
        if let Ok(name) = HeaderName::try_from(name)
            && let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(value))
        {
            headers.append(name, value);
        }
    }
    if let Some(length) = length.filter(|_| is_head) {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    answer
}
