//! The numbers of sessions that scripts know as sockets, and the packets that they write.

use std::cell::{Cell, RefCell};
use std::collections::hash_map::Entry;

use moorline_lua::FIRST_FOREIGN_SOCKET;
use rustc_hash::FxHashMap;

/// The sessions of gates, by their numbers as sockets.
#[derive(Debug, Default)]
pub(crate) struct GateSessions {
    sessions: RefCell<FxHashMap<u32, GateSession>>,
    last: Cell<u32>,
}

#[derive(Debug)]
struct GateSession {
    session: u64,
    /// The begin of a packet whose end the script has not written yet: less than [`HEADER`] and a length of 16 bits.
    partial: Vec<u8>,
}

/// Scripts write packets as `netpack.pack` makes them: a length of two bytes, the larger one first, and that number of bytes. The gateway frames
/// them again.
const HEADER: usize = 2;

impl GateSessions {
    /// A number for a session.
    pub(crate) fn add(&self, session: u64) -> u32 {
        let mut sessions = self.sessions.borrow_mut();
        loop {
            let next = self.last.get() % FIRST_FOREIGN_SOCKET + 1;
            self.last.set(next);
            let number = FIRST_FOREIGN_SOCKET - 1 + next;
            if let Entry::Vacant(free) = sessions.entry(number) {
                free.insert(GateSession {
                    session,
                    partial: Vec::new(),
                });
                return number;
            }
        }
    }

    pub(crate) fn remove(&self, number: u32) {
        self.sessions.borrow_mut().remove(&number);
    }

    pub(crate) fn session(&self, number: u32) -> Option<u64> {
        let sessions = self.sessions.borrow();
        sessions.get(&number).map(|gate| gate.session)
    }

    /// The packets that these bytes complete, and their session.
    pub(crate) fn packets(&self, number: u32, bytes: &[u8]) -> Option<(u64, Vec<Vec<u8>>)> {
        let mut sessions = self.sessions.borrow_mut();
        let gate = sessions.get_mut(&number)?;
        gate.partial.extend_from_slice(bytes);
        let (packets, taken) = split(&gate.partial);
        gate.partial.drain(..taken);
        Some((gate.session, packets))
    }
}

/// The whole packets at the begin of these bytes, and how many bytes they are.
fn split(bytes: &[u8]) -> (Vec<Vec<u8>>, usize) {
    let (mut packets, mut rest) = (Vec::new(), bytes);
    while let Some((header, behind)) = rest.split_first_chunk::<HEADER>() {
        let length = usize::from(u16::from_be_bytes(*header));
        let Some((packet, behind)) = behind.split_at_checked(length) else {
            break;
        };
        packets.push(packet.to_vec());
        rest = behind;
    }
    (packets, bytes.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_whole_however_they_are_written() {
        let gates = GateSessions::default();
        let number = gates.add(7);
        assert!(number >= FIRST_FOREIGN_SOCKET);
        assert_ne!(gates.add(8), number);
        let whole = b"\0\x02hi\0\0\0\x03abc";
        for cut in 0..whole.len() {
            let mut got = Vec::new();
            for part in [&whole[..cut], &whole[cut..]] {
                let (session, packets) = gates.packets(number, part).expect("it is there");
                assert_eq!(session, 7);
                got.extend(packets);
            }
            assert_eq!(got, [&b"hi"[..], b"", b"abc"]);
        }
        gates.remove(number);
        assert!(gates.packets(number, whole).is_none());
    }
}
