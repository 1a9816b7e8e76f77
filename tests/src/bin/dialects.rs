//! An app that speaks as much of two WebSocket subprotocols as their own clients need: MQTT 3.1.1 in binary messages, and
//! `graphql-transport-ws` in text.
//!
//! What is published over MQTT comes back if its topic was subscribed to. A GraphQL subscription is answered with its own query.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::process::ExitCode;
use std::rc::Rc;

use moorline::{App, CloseReason, Context, Message, NoSettings, Result, Session, SessionId};
use serde_json::{Value, json};

fn main() -> ExitCode {
    moorline::run(Dialects::start)
}

struct Dialects {
    peers: RefCell<HashMap<SessionId, Peer>>,
}

/// What an MQTT client has said.
#[derive(Default)]
struct Peer {
    /// A packet that has begun: WebSocket messages need not end where packets do.
    begun: Vec<u8>,
    topics: HashSet<Vec<u8>>,
}

impl App for Dialects {
    type Settings = NoSettings;

    async fn start(_: Context, _: NoSettings) -> Result<Self> {
        Ok(Dialects {
            peers: RefCell::default(),
        })
    }

    async fn message(self: Rc<Self>, session: Session, message: Message) -> Result {
        if message.is_text() {
            for answer in graphql(&message)? {
                session.send_text(answer.to_string()).await?;
            }
            return Ok(());
        }
        let mut answers = Vec::new();
        {
            let mut peers = self.peers.borrow_mut();
            let peer = peers.entry(session.id()).or_default();
            peer.begun.extend_from_slice(&message);
            while let Some(packet) = peer.next_packet() {
                answers.extend(peer.answer(&packet));
            }
        }
        for answer in answers {
            session.send(answer).await?;
        }
        Ok(())
    }

    async fn close(self: Rc<Self>, session: Session, _: CloseReason) -> Result {
        self.peers.borrow_mut().remove(&session.id());
        Ok(())
    }
}

fn graphql(message: &[u8]) -> Result<Vec<Value>> {
    let asked: Value = serde_json::from_slice(message)?;
    let id = &asked["id"];
    Ok(match asked["type"].as_str() {
        Some("connection_init") => vec![json!({ "type": "connection_ack" })],
        Some("ping") => vec![json!({ "type": "pong" })],
        Some("subscribe") => {
            let data = json!({ "data": { "asked": asked["payload"]["query"] } });
            vec![
                json!({ "id": id, "type": "next", "payload": data }),
                json!({ "id": id, "type": "complete" }),
            ]
        }
        _ => Vec::new(),
    })
}

/// A packet of MQTT: its first byte, and all after its length.
type Packet = (u8, Vec<u8>);

impl Peer {
    fn next_packet(&mut self) -> Option<Packet> {
        let mut length = 0;
        for (at, byte) in self.begun.iter().enumerate().skip(1).take(4) {
            length |= usize::from(byte & 0x7f) << (7 * (at - 1));
            if byte & 0x80 == 0 {
                let end = at + 1 + length;
                if self.begun.len() < end {
                    return None;
                }
                let rest = self.begun.split_off(end);
                let packet = std::mem::replace(&mut self.begun, rest);
                return Some((packet[0], packet[at + 1..].to_vec()));
            }
        }
        None
    }

    /// The packets that answer one.
    fn answer(&mut self, (first, body): &Packet) -> Vec<Vec<u8>> {
        let number = |from: usize| body.get(from..from + 2).unwrap_or(&[0, 0]);
        let text = |from: usize| {
            let length = number(from);
            let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
            body.get(from + 2..from + 2 + length).unwrap_or_default()
        };
        match first >> 4 {
            // CONNECT, CONNACK
            1 => vec![vec![0x20, 2, 0, 0]],
            // PUBLISH, PUBACK
            3 => {
                let mut answers = Vec::new();
                if first & 0x06 == 0x02 {
                    let id = number(2 + text(0).len());
                    answers.push(vec![0x40, 2, id[0], id[1]]);
                } else if self.topics.contains(text(0)) {
                    let length = u8::try_from(body.len()).unwrap_or_default();
                    answers.push([&[0x30, length], &body[..]].concat());
                }
                answers
            }
            // SUBSCRIBE, SUBACK
            8 => {
                self.topics.insert(text(2).to_vec());
                let id = number(0);
                vec![vec![0x90, 3, id[0], id[1], 0]]
            }
            // PINGREQ, PINGRESP
            12 => vec![vec![0xd0, 0]],
            _ => Vec::new(),
        }
    }
}
