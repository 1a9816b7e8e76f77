//! The compression (permessage-deflate, RFC 7692) that all sessions of a loop share, and its buffers.

use moorline_net::framing::websocket::deflate::{Deflater, Direction, Inflater, MAX_WINDOW_BITS};
use moorline_net::framing::websocket::deflated_envelope;

/// A header of a server's frame, in bytes.
const LONGEST_HEADER: usize = 10;
/// Buffer space that is kept, in bytes.
const LARGE: usize = 256 * 1024;
/// Deflaters that a loop keeps: one for each level and window that listeners and clients have lately asked for. There are
/// seven windows.
const MOST_DEFLATERS: usize = 8;
/// The largest window takes the messages of all others.
const SHARED: Direction = Direction {
    context_takeover: false,
    window_bits: MAX_WINDOW_BITS,
};

/// How a message is compressed for sessions that share it: its level and its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sharing {
    level: u8,
    direction: Direction,
}

impl Sharing {
    /// For a session that has agreed on this.
    pub(crate) fn new(level: u8, agreed: Direction) -> Self {
        Self {
            level,
            direction: Direction {
                context_takeover: false,
                ..agreed
            },
        }
    }
}

/// The state that the sessions of a loop share, and its buffers.
#[derive(Debug, Default)]
pub(crate) struct Codecs {
    inflater: Option<Inflater>,
    /// The last used one at the end.
    deflaters: Vec<(Deflater, Sharing)>,
    /// A message before its compression.
    plain: Vec<u8>,
    /// A frame after it.
    frame: Vec<u8>,
}

impl Codecs {
    /// Bytes counted for them.
    pub(crate) fn held(&self) -> usize {
        let inflater = self.inflater.as_ref().map_or(0, |_| Inflater::bytes());
        let deflaters = self.deflaters.iter();
        let deflaters = deflaters.map(|(_, sharing)| Deflater::bytes(sharing.direction));
        inflater + deflaters.sum::<usize>()
    }

    /// Two buffers for a message and its frame, empty.
    pub(crate) fn take_buffers(&mut self) -> (Vec<u8>, Vec<u8>) {
        let Self { plain, frame, .. } = self;
        (std::mem::take(plain), std::mem::take(frame))
    }

    /// Takes them back. A large message is no reason to keep its size for ever.
    pub(crate) fn return_buffers(&mut self, mut plain: Vec<u8>, mut frame: Vec<u8>) {
        for buffer in [&mut plain, &mut frame] {
            buffer.clear();
            buffer.shrink_to(LARGE);
        }
        (self.plain, self.frame) = (plain, frame);
    }

    pub(crate) fn deflater(&mut self, sharing: Sharing) -> &mut Deflater {
        let known = self
            .deflaters
            .iter()
            .position(|(_, other)| *other == sharing);
        let entry = match known {
            Some(at) => self.deflaters.remove(at),
            None => {
                if self.deflaters.len() == MOST_DEFLATERS {
                    self.deflaters.remove(0);
                }
                (Deflater::new(sharing.level, sharing.direction), sharing)
            }
        };
        self.deflaters.push(entry);
        let last = self.deflaters.len() - 1;
        &mut self.deflaters[last].0
    }

    /// The frame of a message, compressed for all sessions that share it. `None`: it is not shorter so.
    pub(crate) fn frame(
        &mut self,
        message: &[u8],
        text: bool,
        sharing: Sharing,
    ) -> Option<Vec<u8>> {
        let mut frame = Vec::new();
        let start = deflate(self.deflater(sharing), message, text, &mut frame);
        frame.drain(..start);
        (frame.len() < message.len()).then_some(frame)
    }

    /// For messages of any client that keeps no context.
    pub(crate) fn inflater(&mut self) -> &mut Inflater {
        self.inflater.get_or_insert_with(|| Inflater::new(SHARED))
    }
}

/// Writes the frame of a compressed message to `out`, and returns where it begins there.
pub(crate) fn deflate(
    deflater: &mut Deflater,
    message: &[u8],
    text: bool,
    out: &mut Vec<u8>,
) -> usize {
    out.clear();
    out.resize(LONGEST_HEADER, 0);
    deflater.deflate(message, out);
    let envelope = deflated_envelope(out.len() - LONGEST_HEADER, text);
    let header = envelope.prefix();
    let start = LONGEST_HEADER - header.len();
    out[start..LONGEST_HEADER].copy_from_slice(header);
    start
}
