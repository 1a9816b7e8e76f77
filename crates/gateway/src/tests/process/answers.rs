//! How a scripted process answers plain requests: with what it was sent, in pieces, as fast as the client takes them.

use moorline_ipc::Header;

use super::Process;
use moorline_protocol::wire::exchange::{
    ANSWER_WINDOW, AnswerHead, LARGEST_PIECE, PIECE_OVERHEAD, write_answer_head,
};
use moorline_protocol::wire::{FAILED, FromProcess, LAST, ToProcess};

/// The first byte of a request whose answer has no body.
pub(in crate::tests) const HEAD: u8 = b'H';
/// The first byte of a request whose answer comes without a length.
pub(in crate::tests) const ENDLESS: u8 = b'E';

/// A plain request as its process sees it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::tests) struct Asked {
    pub(in crate::tests) payload: Vec<u8>,
    pub(in crate::tests) is_whole: bool,
    /// Bytes of its answer that the client has taken.
    pub(in crate::tests) taken: u64,
    pub(in crate::tests) is_gone: bool,
    /// The head of the answer is written.
    has_head: bool,
    /// Bytes of the body that are written.
    written: usize,
    /// The same as the window counts them, with the head.
    counted: u64,
}

impl Process {
    /// A record about a request. That may have been answered to the end meanwhile.
    pub(super) fn take_request(&mut self, kind: ToProcess, header: &Header, payload: Vec<u8>) {
        let number = header.session;
        if kind == ToProcess::Request {
            let asked = self.requests.entry(number).or_default();
            asked.payload.extend(payload);
            asked.is_whole = header.flags & LAST != 0;
        } else if let Some(asked) = self.requests.get_mut(&number) {
            match kind {
                ToProcess::BodyTaken => asked.taken += header.sequence,
                _ => asked.is_gone = true,
            }
        }
    }

    /// Writes one more record of its answer to a request, with at most `most` bytes, if there is room for it. True: there was.
    pub(in crate::tests) fn answer_some(&mut self, number: u64, most: usize) -> bool {
        let Some(asked) = self.requests.get_mut(&number) else {
            return false;
        };
        if asked.is_gone {
            return self.fail(number);
        }
        let rest = asked.payload.len() - asked.written;
        let room = (ANSWER_WINDOW as u64 + asked.taken).saturating_sub(asked.counted);
        let room = (room as usize).saturating_sub(2 * PIECE_OVERHEAD);
        // A record may be a quarter of a ring.
        let piece = rest.min(most).min(room).min(LARGEST_PIECE / 8);
        if !asked.is_whole || (piece == 0 && rest > 0) {
            return false;
        }
        let mut payload = Vec::new();
        let kind = match std::mem::replace(&mut asked.has_head, true) {
            true => FromProcess::Body,
            false => {
                payload = head_for(&asked.payload);
                FromProcess::Respond
            }
        };
        let is_head = asked.payload.first() == Some(&HEAD);
        if !is_head {
            payload.extend_from_slice(&asked.payload[asked.written..][..piece]);
            asked.written += piece;
        }
        asked.counted += (payload.len() + PIECE_OVERHEAD) as u64;
        let is_last = is_head || asked.written == asked.payload.len();
        if is_last {
            self.requests.remove(&number);
        }
        self.respond(kind, number, if is_last { LAST } else { 0 }, &payload);
        true
    }

    /// Ends a request without an answer, or without all of it. False: it has not come yet, or not all of it.
    pub(in crate::tests) fn fail(&mut self, number: u64) -> bool {
        let Some(asked) = self.requests.get(&number).filter(|it| it.is_whole) else {
            return false;
        };
        let kind = match asked.has_head {
            true => FromProcess::Body,
            false => FromProcess::Respond,
        };
        self.requests.remove(&number);
        self.respond(kind, number, LAST | FAILED, &[]);
        true
    }
}

fn head_for(payload: &[u8]) -> Vec<u8> {
    let is_endless = payload.first() == Some(&ENDLESS);
    write_answer_head(&AnswerHead {
        status: 200,
        fields: vec![("X".into(), b"y".to_vec())],
        length: (!is_endless).then_some(payload.len() as u64),
    })
}
