//! The answer to a plain HTTP request.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::mpsc;

use crate::app::{Error, Result};
use crate::wire::accept::is_field;
use crate::wire::exchange::{AnswerHead, LARGEST_ANSWER_HEAD, write_answer_head};

/// The answer to a [`Request`](crate::app::Request): the result of [`App::request`](crate::app::App::request).
///
/// ```
/// use moorline_worker::app::{Request, Response, Result};
///
/// async fn request(request: Request) -> Result<Response> {
///     if request.method() != "POST" {
///         return Ok(Response::new(405).header("Allow", "POST"));
///     }
///     let name = String::from_utf8_lossy(request.body());
///     Ok(Response::text(format!("hello {name}")).header("Cache-Control", "no-store"))
/// }
/// ```
///
/// The engine writes the fields that describe the connection and the body's length. What breaks the head of an answer is
/// found when the hook has ended: a status outside 200 to 599, a line break in a field, a field of the engine's own, or more
/// than 16 KiB of fields. Then the request is answered with 500, and the reason is logged as an error of the hook.
#[must_use = "the hook returns it"]
pub struct Response {
    head: AnswerHead,
    content: Content,
}

/// The body of an answer.
pub(crate) enum Content {
    Whole(Bytes),
    Stream(Pieces),
}

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes>>>>;

impl Response {
    /// An answer of this status, without a body.
    pub fn new(status: u16) -> Self {
        Self {
            head: AnswerHead {
                status,
                ..AnswerHead::default()
            },
            content: Content::Whole(Bytes::new()),
        }
    }

    /// 200, and plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::of_kind("text/plain; charset=utf-8", text)
    }

    /// 200, and a page.
    pub fn html(page: impl Into<String>) -> Self {
        Self::of_kind("text/html; charset=utf-8", page)
    }

    /// 200, and JSON, as `serde_json` writes it.
    pub fn json(json: impl Into<String>) -> Self {
        Self::of_kind("application/json", json)
    }

    /// The client finds what it asks for at this address, with GET (303).
    pub fn redirect(location: impl Into<String>) -> Self {
        Self::new(303).header("Location", location.into())
    }

    fn of_kind(kind: &str, text: impl Into<String>) -> Self {
        Self::new(200)
            .header("Content-Type", kind)
            .body(text.into())
    }

    /// Has this status instead.
    pub fn status(mut self, status: u16) -> Self {
        self.head.status = status;
        self
    }

    /// Adds a field to the head. The value need not be UTF-8.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.head.fields.push((name.into(), value.into()));
        self
    }

    /// Has this body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.head.length = None;
        self.content = Content::Whole(body.into());
        self
    }

    /// Has the body that this stream yields, a piece at a time. It is polled on the process's thread, after the hook has
    /// ended, and only while the client takes what comes: at most 256 KiB are on their way. Its error breaks the answer off,
    /// so that the client sees that it is not whole; the error is logged and counted as one of the hook. When the client
    /// leaves, the stream is dropped.
    pub fn stream<S, B, E>(mut self, pieces: S) -> Self
    where
        S: Stream<Item = std::result::Result<B, E>> + 'static,
        B: Into<Bytes>,
        E: Into<Error>,
    {
        self.head.length = None;
        self.content = Content::Stream(Box::pin(Converted(Box::pin(pieces))));
        self
    }

    /// The streamed body has this many bytes. A client sees how much is to come; without this it learns the end at the end.
    /// The stream is dropped when it has yielded them. Fewer are an error of the stream, and so is a piece that goes beyond.
    /// The answer to a HEAD request, which has no body, says this too.
    pub fn length(mut self, length: u64) -> Self {
        self.head.length = Some(length);
        self
    }

    /// Has the body that is sent through the sender. For code that writes instead of being polled: give the sender to a
    /// task, and return the response.
    pub fn channel(self) -> (BodySender, Self) {
        let (pieces, received) = mpsc::channel(1);
        let is_ended = Arc::new(AtomicBool::new(false));
        let sent = Sent {
            pieces: received,
            is_ended: is_ended.clone(),
        };
        (BodySender { pieces, is_ended }, self.stream(sent))
    }

    /// The head as it goes to the gateway, and the body; or why there can be no such answer. `is_head`: only the head is
    /// wanted.
    pub(crate) fn encode(
        mut self,
        is_head: bool,
    ) -> std::result::Result<(Vec<u8>, Content, Option<u64>), String> {
        let head = &mut self.head;
        if !(200..600).contains(&head.status) {
            let status = head.status;
            return Err(format!(
                "a response with the status {status}: write 200 to 599"
            ));
        }
        let mut fields = head.fields.iter();
        if let Some((name, _)) = fields.find(|(name, value)| !is_field(name, value)) {
            return Err(format!("a response cannot have this field: {name:?}"));
        }
        match &self.content {
            // The app has left it out, and may have said its length.
            Content::Whole(body) if is_head && body.is_empty() => {}
            Content::Whole(body) => head.length = Some(body.len() as u64),
            Content::Stream(_) => {}
        }
        if !head.has_body() {
            head.length = None;
        }
        if is_head || !head.has_body() {
            self.content = Content::Whole(Bytes::new());
        }
        let bytes = write_answer_head(head);
        if bytes.len() > LARGEST_ANSWER_HEAD {
            return Err(format!(
                "the head of a response has {} bytes, and at most {LARGEST_ANSWER_HEAD}",
                bytes.len()
            ));
        }
        Ok((bytes, self.content, head.length))
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

/// Writes the body of a [`Response`], from any task or thread. Made by [`Response::channel`].
///
/// Dropping it before [`end`](Self::end) breaks the answer off, so that the client sees that it is not whole.
#[derive(Debug)]
pub struct BodySender {
    pieces: mpsc::Sender<Bytes>,
    is_ended: Arc<AtomicBool>,
}

impl BodySender {
    /// Sends some bytes, and waits while the client does not take what was sent before. Cancel-safe: all of them go, or none.
    ///
    /// # Errors
    /// [`ClientLeft`].
    pub async fn send(&self, bytes: impl Into<Bytes>) -> std::result::Result<(), ClientLeft> {
        self.pieces.send(bytes.into()).await.map_err(|_| ClientLeft)
    }

    /// Waits until nobody waits for the body any more. Cancel-safe.
    pub async fn client_left(&self) {
        self.pieces.closed().await;
    }

    /// The body is whole.
    pub fn end(self) {
        self.is_ended.store(true, Ordering::Release);
    }
}

/// Nobody waits for the body of a response any more: its client has left, or its connection broke. As the error of a hook it
/// does not count as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientLeft;

impl fmt::Display for ClientLeft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client has left")
    }
}

impl std::error::Error for ClientLeft {}

/// What a sender sends.
struct Sent {
    pieces: mpsc::Receiver<Bytes>,
    is_ended: Arc<AtomicBool>,
}

impl Stream for Sent {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pieces.poll_recv(cx).map(|piece| match piece {
            Some(piece) => Some(Ok(piece)),
            None if self.is_ended.load(Ordering::Acquire) => None,
            None => Some(Err("its sender was dropped before the end".into())),
        })
    }
}

/// A stream of the app's, whatever it yields.
struct Converted<S>(Pin<Box<S>>);

impl<S, B, E> Stream for Converted<S>
where
    S: Stream<Item = std::result::Result<B, E>>,
    B: Into<Bytes>,
    E: Into<Error>,
{
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.0.as_mut().poll_next(cx);
        next.map(|piece| Some(piece?.map(Into::into).map_err(Into::into)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_that_breaks_its_head_is_refused() {
        let good = Response::text("hello").header("Set-Cookie", b"a=\xff".to_vec());
        assert!(good.encode(false).is_ok());
        for wrong in [
            Response::new(101),
            Response::new(600),
            Response::new(200).header("X", "a\r\nb: c"),
            Response::new(200).header("X Y", "a"),
            Response::new(200).header("Content-Length", "4"),
            Response::new(200).header("connection", "close"),
            Response::new(200).header("X", vec![b'a'; LARGEST_ANSWER_HEAD]),
        ] {
            assert!(wrong.encode(false).is_err());
        }
    }

    #[test]
    fn only_an_answer_that_has_a_body_has_one() {
        let body = |response: Response, is_head| {
            let (_, content, length) = response.encode(is_head).unwrap();
            let Content::Whole(body) = content else {
                panic!("it is whole")
            };
            (body.len(), length)
        };
        assert_eq!(body(Response::text("hello"), false), (5, Some(5)));
        assert_eq!(body(Response::text("hello"), true), (0, Some(5)));
        assert_eq!(body(Response::text("hello").status(204), false), (0, None));
        assert_eq!(body(Response::text("hello").status(304), false), (0, None));
    }
}
