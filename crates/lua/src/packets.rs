//! Packets behind their length in two bytes, the higher one first, cut out of what sockets receive.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

/// The packets of many sockets.
#[derive(Debug, Default)]
pub(crate) struct PacketQueue {
    /// What was received of a packet that is not whole, with its head, by socket. At most 64 KiB each.
    begun: FxHashMap<u32, Vec<u8>>,
    whole: VecDeque<(u32, Vec<u8>)>,
}

/// The bytes of a head.
const HEAD_BYTES: usize = 2;

/// What has come of bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packets {
    /// No packet is whole.
    None,
    /// One, and nothing behind it.
    One(Vec<u8>),
    /// Those in the queue.
    More,
}

impl PacketQueue {
    /// Cuts what a socket has received.
    pub(crate) fn receive(&mut self, id: u32, bytes: &[u8]) -> Packets {
        let mut begun = self.begun.remove(&id);
        let mut rest = bytes;
        if let Some(packet) = &mut begun {
            rest = fill(packet, rest);
        }
        let mut count = 0;
        let mut first = None;
        let mut keep = |queue: &mut VecDeque<(u32, Vec<u8>)>, packet: Vec<u8>| {
            count += 1;
            match first.take() {
                None if count == 1 => first = Some(packet),
                None => queue.push_back((id, packet)),
                Some(before) => queue.extend([(id, before), (id, packet)]),
            }
        };
        if let Some(packet) = begun {
            match is_whole(&packet) {
                true => keep(&mut self.whole, packet[HEAD_BYTES..].to_vec()),
                false => {
                    self.begun.insert(id, packet);
                    return Packets::None;
                }
            }
        }
        while let Some((packet, behind)) = cut(rest) {
            keep(&mut self.whole, packet.to_vec());
            rest = behind;
        }
        if !rest.is_empty() {
            self.begun.insert(id, rest.to_vec());
        }
        match (count, first) {
            (0, _) => Packets::None,
            // A packet that has begun behind it is no reason to go by the queue.
            (1, Some(packet)) => Packets::One(packet),
            _ => Packets::More,
        }
    }

    pub(crate) fn pop(&mut self) -> Option<(u32, Vec<u8>)> {
        self.whole.pop_front()
    }

    /// Nothing more comes of a socket.
    pub(crate) fn forget(&mut self, id: u32) {
        self.begun.remove(&id);
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// The first packet and what is behind it.
fn cut(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u16::from_be_bytes(*head).into())
}

fn is_whole(packet: &[u8]) -> bool {
    cut(packet).is_some()
}

/// Completes a packet as far as possible, and returns the bytes behind it.
fn fill<'a>(packet: &mut Vec<u8>, bytes: &'a [u8]) -> &'a [u8] {
    let mut rest = bytes;
    for wanted in [HEAD_BYTES, 0] {
        let length = match (wanted, packet.first_chunk::<HEAD_BYTES>()) {
            (0, Some(head)) => HEAD_BYTES + usize::from(u16::from_be_bytes(*head)),
            (0, None) => return rest,
            (head, _) => head,
        };
        let missing = length.saturating_sub(packet.len()).min(rest.len());
        let (taken, behind) = rest.split_at(missing);
        packet.extend_from_slice(taken);
        rest = behind;
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(texts: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for text in texts {
            bytes.extend(
                u16::try_from(text.len())
                    .expect("it is short")
                    .to_be_bytes(),
            );
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes
    }

    #[test]
    fn packets_come_out_of_pieces_of_any_size() {
        let texts = ["one", "", "two and a half", "3"];
        let bytes = framed(&texts);
        for size in 1..=bytes.len() {
            let mut queue = PacketQueue::default();
            let mut found = Vec::new();
            for piece in bytes.chunks(size) {
                match queue.receive(7, piece) {
                    Packets::None => {}
                    Packets::One(packet) => found.push(packet),
                    Packets::More => found.extend(std::iter::from_fn(|| {
                        let (id, packet) = queue.pop()?;
                        assert_eq!(id, 7);
                        Some(packet)
                    })),
                }
            }
            let found: Vec<_> = found.iter().map(|packet| packet.as_slice()).collect();
            let expected: Vec<_> = texts.iter().map(|text| text.as_bytes()).collect();
            assert_eq!(found, expected, "pieces of {size} bytes");
            assert!(queue.begun.is_empty() && queue.whole.is_empty());
        }
    }

    #[test]
    fn sockets_do_not_mix_and_a_closed_one_is_forgotten() {
        let mut queue = PacketQueue::default();
        assert_eq!(queue.receive(1, b"\0"), Packets::None);
        assert_eq!(queue.receive(2, b"\0\x01x"), Packets::One(b"x".to_vec()));
        queue.forget(1);
        assert_eq!(queue.receive(1, b"\0\x01y"), Packets::One(b"y".to_vec()));
    }
}
