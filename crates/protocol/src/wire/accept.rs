//! A request that asks for a session, what the app says to it, and what is kept of it.

use moorline_config::{is_subprotocol, is_token};
use serde::{Deserialize, Serialize};

use super::{Peer, SessionData, SessionTls};

/// The longest head of a request that an app is asked about, in bytes.
pub const LONGEST_HEAD: usize = 16 * 1024;
/// The largest [`Verdict`] in bytes, encoded. It goes in one record, which half of the smallest ring has room for.
pub const LARGEST_VERDICT: usize = 24 * 1024;
/// What may be kept of a request, in bytes.
pub const LARGEST_REQUEST: usize = 4 * 1024;

/// A request that asks for a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asking {
    /// The listener, by its place in the configuration.
    pub listener: u16,
    /// The other end.
    pub peer: Peer,
    /// When it was accepted, milliseconds since the Unix epoch.
    pub connected_at: u64,
    /// The result of its TLS handshake, if it is encrypted.
    pub tls: Option<Box<SessionTls>>,
    /// The head of the request as it was received, with its empty line. At most [`LONGEST_HEAD`] bytes.
    pub head: Vec<u8>,
}

/// What the app says to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The app has no opinion, on any request: the listener's rules decide, and this process need not be asked again.
    Rules,
    /// The session begins.
    Accept(Box<Acceptance>),
    /// No session begins.
    Refuse(Box<HttpAnswer>),
    /// The app failed while it looked at the request: by a panic, or with an error.
    Failed,
}

/// How a session begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptance {
    /// The subprotocol that was chosen. Without one the listener's rules choose.
    pub protocol: Option<String>,
    /// Further fields of the answer's head.
    pub fields: Vec<(String, String)>,
    /// The request's origin need not fit the listener's rules: the app has looked at it.
    pub any_origin: bool,
    /// What the session begins with.
    pub data: SessionData,
}

/// The answer to a request that begins no session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpAnswer {
    /// From 300 to 599.
    pub status: u16,
    /// The fields of its head, without those that describe the connection or the body's length.
    pub fields: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// Whether a head may have this field besides those that the engine itself writes.
pub fn is_field(name: &str, value: impl AsRef<[u8]>) -> bool {
    /// Fields that describe the connection, the body's length, or the handshake.
    const OWN: &[&str] = &[
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    is_token(name)
        && !OWN.iter().any(|own| own.eq_ignore_ascii_case(name))
        && value
            .as_ref()
            .iter()
            .all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f))
}

impl Verdict {
    /// Whether it could be an honest process's: no field of it breaks the head that it goes into.
    pub fn is_sound(&self) -> bool {
        let are_fields =
            |fields: &[(String, String)]| fields.iter().all(|(name, value)| is_field(name, value));
        match self {
            Verdict::Rules | Verdict::Failed => true,
            Verdict::Accept(acceptance) => {
                are_fields(&acceptance.fields)
                    && acceptance.protocol.as_deref().is_none_or(is_subprotocol)
                    && acceptance.data.is_sound()
            }
            Verdict::Refuse(answer) => {
                (300..600).contains(&answer.status) && are_fields(&answer.fields)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_cannot_end_a_head_or_change_the_connection() {
        assert!(is_field("Set-Cookie", "a=b; Path=/"));
        for (name, value) in [
            ("", "x"),
            ("a b", "x"),
            ("a", "x\r\ny: z"),
            ("a", "x\0"),
            ("Connection", "close"),
            ("sec-websocket-PROTOCOL", "x"),
            ("Content-Length", "4"),
        ] {
            assert!(!is_field(name, value), "{name:?}: {value:?}");
        }
    }

    #[test]
    fn a_refusal_has_a_status_that_refuses() {
        let refuse = |status| {
            Verdict::Refuse(Box::new(HttpAnswer {
                status,
                ..HttpAnswer::default()
            }))
        };
        assert!(refuse(302).is_sound() && refuse(599).is_sound());
        assert!(!refuse(101).is_sound() && !refuse(200).is_sound() && !refuse(600).is_sound());
    }
}
