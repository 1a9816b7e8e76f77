//! The clients of a scripted engine that speak HTTP.

use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;

use super::gateway::{AnswerEnd, Gateway, SessionAnswer};
use super::{Engine, ScriptedPeer};
use crate::app::Peer;
use crate::wire::exchange::AnswerHead;

/// A request over HTTP to a [`ScriptedEngine`](super::ScriptedEngine), before it is sent.
#[must_use = "nothing happens before `send` or `open`"]
pub struct ScriptedRequest {
    engine: Rc<Engine>,
    head: Vec<u8>,
    body: Vec<u8>,
    peer: Peer,
}

impl ScriptedRequest {
    pub(super) fn new(engine: Rc<Engine>, method: &str, target: &str) -> Self {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: scripted.example\r\n");
        Self {
            engine,
            head: head.into_bytes(),
            body: Vec::new(),
            peer: Peer::Ip(SocketAddr::from(([127, 0, 0, 1], 9_999))),
        }
    }

    /// Adds a field to the head.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.head
            .extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        self
    }

    /// Has this body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Comes from this address.
    pub fn from(mut self, address: SocketAddr) -> Self {
        self.peer = Peer::Ip(address);
        self
    }

    /// Sends it, to [`App::request`](crate::app::App::request), and waits for the head of the answer. A hook that fails is
    /// 500, and one whose process dies is 502.
    pub async fn send(self) -> ScriptedAnswer {
        self.begin().await.answer().await
    }

    /// Sends it, and runs the app as far as it comes without waiting.
    pub async fn begin(self) -> ScriptedWait {
        let (engine, head) = (self.engine, finished(self.head));
        let number = engine.gateway.borrow_mut().ask(self.peer, head, &self.body);
        engine.settle().await;
        ScriptedWait(ScriptedAnswer {
            engine,
            number: Some(number),
            head: AnswerHead::default(),
            rest: Vec::new(),
        })
    }

    /// Asks for a WebSocket session, as [`App::accept`](crate::app::App::accept) decides. An app without that hook accepts:
    /// a listener's rules are not there. What the app has chosen is [`ScriptedPeer::protocol`] and
    /// [`ScriptedPeer::response_header`].
    ///
    /// # Errors
    /// The answer of an app that refuses; 503 if the hook fails.
    pub async fn open(mut self) -> Result<ScriptedPeer, ScriptedAnswer> {
        for line in [
            "Connection: Upgrade\r\n",
            "Upgrade: websocket\r\n",
            "Sec-WebSocket-Version: 13\r\n",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        ] {
            self.head.extend_from_slice(line.as_bytes());
        }
        let (engine, peer, head) = (self.engine, self.peer, finished(self.head));
        let id = engine.gateway.borrow_mut().ask_for_session(&peer, head);
        let decided = |gateway: &mut Gateway| gateway.verdict(id, &peer);
        match engine.until("a decision", decided).await {
            SessionAnswer::Session(id, accepted) => {
                engine.settle().await;
                Ok(ScriptedPeer {
                    engine,
                    id,
                    protocol: accepted.protocol,
                    fields: accepted.fields,
                })
            }
            SessionAnswer::Refused(answer) => Err(ScriptedAnswer {
                engine,
                number: None,
                head: AnswerHead {
                    status: answer.status,
                    fields: answer
                        .fields
                        .into_iter()
                        .map(|(name, value)| (name, value.into_bytes()))
                        .collect(),
                    length: None,
                },
                rest: answer.body,
            }),
        }
    }
}

fn finished(mut head: Vec<u8>) -> Vec<u8> {
    head.extend_from_slice(b"\r\n");
    head
}

impl fmt::Debug for ScriptedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedRequest")
            .field("head", &String::from_utf8_lossy(&self.head))
            .finish_non_exhaustive()
    }
}

/// A client that waits for an answer: the test may reload or crash the app meanwhile. Dropping it is a client that leaves.
#[derive(Debug)]
pub struct ScriptedWait(ScriptedAnswer);

impl ScriptedWait {
    /// Waits for the head of the answer.
    pub async fn answer(self) -> ScriptedAnswer {
        let mut answer = self.0;
        let number = answer.number.unwrap_or_default();
        let answered = |gateway: &mut Gateway| gateway.exchanges.get(&number)?.head.clone();
        answer.head = answer.engine.until("an answer", answered).await;
        answer
    }
}

/// The answer to a [`ScriptedRequest`]. Dropping it before its end is a client that leaves.
pub struct ScriptedAnswer {
    engine: Rc<Engine>,
    /// Its number, if it comes from the app in pieces.
    number: Option<u64>,
    head: AnswerHead,
    /// What is left of a body that has come whole.
    rest: Vec<u8>,
}

impl ScriptedAnswer {
    /// Its status.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The first field of this name, in any case, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.fields.iter();
        let (_, value) = fields.find(|(its, _)| its.eq_ignore_ascii_case(name))?;
        str::from_utf8(value).ok()
    }

    /// The length of its body, if that is known at its beginning.
    pub fn length(&self) -> Option<u64> {
        self.head.length
    }

    /// The next piece of its body, as the app has sent it; none at the end. Panics if it is broken off, or if nothing
    /// comes.
    pub async fn piece(&mut self) -> Option<Vec<u8>> {
        match self.next().await {
            Ok(piece) => Some(piece),
            Err(AnswerEnd::Whole) => None,
            Err(AnswerEnd::BrokenOff) => panic!("the body of an answer was broken off"),
        }
    }

    /// The rest of its body. Panics if it is broken off, or if its end does not come.
    pub async fn body(mut self) -> Vec<u8> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece().await {
            body.extend(piece);
        }
        body
    }

    /// Waits until its body is broken off, and returns what has come before. Panics if it comes to its end.
    pub async fn broken_off(mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            match self.next().await {
                Ok(piece) => body.extend(piece),
                Err(AnswerEnd::BrokenOff) => return body,
                Err(AnswerEnd::Whole) => panic!("the body of an answer has come to its end"),
            }
        }
    }

    async fn next(&mut self) -> Result<Vec<u8>, AnswerEnd> {
        let Some(number) = self.number else {
            return match std::mem::take(&mut self.rest) {
                rest if rest.is_empty() => Err(AnswerEnd::Whole),
                rest => Ok(rest),
            };
        };
        let next = |gateway: &mut Gateway| match gateway.piece(number) {
            Some(piece) => Some(Ok(piece)),
            None => gateway.exchanges.get(&number)?.end.map(Err),
        };
        self.engine.until("a piece of a body", next).await
    }
}

impl Drop for ScriptedAnswer {
    fn drop(&mut self) {
        // A test that fails may drop it amid a borrow.
        if let Some(number) = self.number
            && let Ok(mut gateway) = self.engine.gateway.try_borrow_mut()
        {
            gateway.leave(number);
        }
    }
}

impl fmt::Debug for ScriptedAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedAnswer")
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}
