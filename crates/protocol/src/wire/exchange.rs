//! A plain HTTP request, and the app's answer to it.

use serde::{Deserialize, Serialize};

use super::accept::{Asking, is_field};

/// Requests that a process may have in progress with one gateway loop.
pub const MOST_EXCHANGES: usize = 512;
/// The largest [`AnswerHead`] in bytes, encoded.
pub const LARGEST_ANSWER_HEAD: usize = 16 * 1024;
/// The bytes of one answer that may be on their way, each piece with [`PIECE_OVERHEAD`] more.
pub const ANSWER_WINDOW: usize = 256 * 1024;
/// What each piece of an answer counts beside its bytes: many small ones need memory, too.
pub const PIECE_OVERHEAD: usize = 64;
/// The most bytes of a body in one record: those of its head, or of a further piece.
pub const LARGEST_PIECE: usize = 64 * 1024;

/// What a process notes instead of a session while a hook is polled that belongs to none, as of a plain request or a post: no
/// session has this id.
pub const NO_SESSION: u64 = u64::MAX;

/// The head of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerHead {
    /// From 200 to 599.
    pub status: u16,
    /// Its fields, without those that describe the connection or the body's length.
    pub fields: Vec<(String, Vec<u8>)>,
    /// The length of the body. The answer to a HEAD request has one, and no body.
    pub length: Option<u64>,
}

impl AnswerHead {
    /// Whether it could be an honest process's: no field of it breaks the head that it goes into.
    pub fn is_sound(&self) -> bool {
        let mut fields = self.fields.iter();
        (200..600).contains(&self.status) && fields.all(|(name, value)| is_field(name, value))
    }

    /// Whether an answer of this status has a body (RFC 9110 §6.4.1).
    pub fn has_body(&self) -> bool {
        !matches!(self.status, 204 | 304)
    }
}

/// The payload of `ToProcess::Request` so far: what is appended to it is the body.
pub fn write_request(asking: &Asking) -> Vec<u8> {
    with_length(asking)
}

/// The request, and where its body begins.
pub fn split_request(payload: &[u8]) -> Option<(Asking, usize)> {
    let (head, begins_at) = front(payload)?;
    Some((postcard::from_bytes(head).ok()?, begins_at))
}

/// The payload of `FromProcess::Respond` so far: what is appended to it is the first piece of the body.
pub fn write_answer_head(head: &AnswerHead) -> Vec<u8> {
    with_length(head)
}

/// The head of an answer, and where the first piece of its body begins.
pub fn split_answer_head(payload: &[u8]) -> Option<(AnswerHead, usize)> {
    let (head, begins_at) = front(payload)?;
    if head.len() > LARGEST_ANSWER_HEAD {
        return None;
    }
    Some((postcard::from_bytes(head).ok()?, begins_at))
}

/// A value after its length in four bytes, little-endian.
fn with_length(value: &impl Serialize) -> Vec<u8> {
    // Plain values only: there is nothing in it that could fail to be written.
    let mut bytes = postcard::to_extend(value, vec![0; 4]).unwrap_or_default();
    let length = (bytes.len().saturating_sub(4) as u32).to_le_bytes();
    if let Some(place) = bytes.first_chunk_mut() {
        *place = length;
    }
    bytes
}

/// The value at the front, and where it ends.
fn front(payload: &[u8]) -> Option<(&[u8], usize)> {
    let (length, rest) = payload.split_first_chunk()?;
    let length = u32::from_le_bytes(*length) as usize;
    Some((rest.get(..length)?, 4 + length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Peer;

    #[test]
    fn a_request_and_an_answer_are_read_as_they_were_written() {
        let asking = Asking {
            listener: 3,
            peer: Peer::Unix,
            connected_at: 7,
            tls: None,
            head: b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        };
        let mut payload = write_request(&asking);
        let begins_at = payload.len();
        payload.extend(b"body");
        assert_eq!(split_request(&payload), Some((asking, begins_at)));

        let head = AnswerHead {
            status: 200,
            fields: vec![("Set-Cookie".into(), b"a=\xff".to_vec())],
            length: Some(4),
        };
        let payload = write_answer_head(&head);
        assert_eq!(split_answer_head(&payload), Some((head, payload.len())));
    }

    #[test]
    fn a_payload_that_is_cut_off_is_none() {
        let payload = write_answer_head(&AnswerHead::default());
        for length in 0..payload.len() {
            assert_eq!(split_answer_head(&payload[..length]), None, "{length}");
            assert_eq!(split_request(&payload[..length]), None, "{length}");
        }
        assert_eq!(split_answer_head(&[0xff; 64]), None);
    }

    #[test]
    fn a_head_is_sound_if_it_ends_where_it_should() {
        let head = |status, name: &str, value: &[u8]| AnswerHead {
            status,
            fields: vec![(name.to_owned(), value.to_owned())],
            length: None,
        };
        assert!(head(200, "X", b"\xe4 a\t").is_sound());
        assert!(!head(101, "X", b"a").is_sound() && !head(600, "X", b"a").is_sound());
        assert!(!head(200, "X", b"a\r\nb: c").is_sound());
        assert!(!head(200, "Transfer-Encoding", b"chunked").is_sound());
    }
}
