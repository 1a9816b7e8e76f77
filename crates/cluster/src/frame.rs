//! What travels from one process to another: a header and bytes.

use bytes::{BufMut, Bytes, BytesMut};

/// Rises when the header changes.
const VERSION: u8 = 1;

/// The bytes of a header.
pub const HEADER_BYTES: usize = 32;

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// A message to a session.
    Send,
    /// The end of a session.
    Close,
    /// There is no session of this id.
    Unknown,
    /// Asks which position has been taken.
    Probe,
    /// Says it.
    Taken,
    /// A message to the members of a group on the other node.
    Broadcast,
    /// A session joins a group.
    Join,
    /// A session leaves a group.
    Leave,
    /// A request.
    Call,
    /// Its answer.
    Answer,
}

impl FrameKind {
    const ALL: [Self; 10] = [
        Self::Send,
        Self::Close,
        Self::Unknown,
        Self::Probe,
        Self::Taken,
        Self::Broadcast,
        Self::Join,
        Self::Leave,
        Self::Call,
        Self::Answer,
    ];

    fn from_u8(kind: u8) -> Option<Self> {
        Self::ALL.get(usize::from(kind)).copied()
    }
}

/// What precedes the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the frame is for.
    pub kind: FrameKind,
    /// By kind.
    pub flags: u8,
    /// By kind.
    pub aux: u16,
    /// The number of the node that it comes from.
    pub node: u16,
    /// The process that it comes from.
    pub process: u64,
    /// How far the sender has written to this process, with this frame. Of `Taken`: how far the other one has read.
    pub position: u64,
    /// The session concerned. Of a call and its answer: the number of the call.
    pub session: u64,
}

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What precedes the bytes.
    pub header: FrameHeader,
    /// The bytes.
    pub payload: Bytes,
}

impl FrameHeader {
    /// As it travels, with these bytes.
    pub fn encode(&self, payload: &[u8]) -> Bytes {
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + payload.len());
        bytes.put_u8(VERSION);
        bytes.put_u8(self.kind as u8);
        bytes.put_u8(self.flags);
        bytes.put_u8(0);
        bytes.put_u16_le(self.aux);
        bytes.put_u16_le(self.node);
        bytes.put_u64_le(self.process);
        bytes.put_u64_le(self.position);
        bytes.put_u64_le(self.session);
        bytes.extend_from_slice(payload);
        bytes.freeze()
    }
}

impl Frame {
    /// What was written; `None` for anything that no process of this version writes.
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        let (header, _) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let [version, kind, flags, zero, rest @ ..] = header;
        if (*version, *zero) != (VERSION, 0) {
            return None;
        }
        let (aux, rest) = rest.split_first_chunk()?;
        let (node, rest) = rest.split_first_chunk()?;
        let (process, rest) = rest.split_first_chunk()?;
        let (position, rest) = rest.split_first_chunk()?;
        let (session, _) = rest.split_first_chunk()?;
        Some(Self {
            header: FrameHeader {
                kind: FrameKind::from_u8(*kind)?,
                flags: *flags,
                aux: u16::from_le_bytes(*aux),
                node: u16::from_le_bytes(*node),
                process: u64::from_le_bytes(*process),
                position: u64::from_le_bytes(*position),
                session: u64::from_le_bytes(*session),
            },
            payload: bytes.slice(HEADER_BYTES..),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_is_read_back() {
        for kind in FrameKind::ALL {
            let header = FrameHeader {
                kind,
                flags: 3,
                aux: 0x1234,
                node: 511,
                process: u64::MAX - 1,
                position: 1 << 40,
                session: 7,
            };
            let payload = Bytes::from_static(b"bytes");
            let frame = Frame {
                header,
                payload: payload.clone(),
            };
            assert_eq!(Frame::decode(&header.encode(&payload)), Some(frame));
        }
    }

    #[test]
    fn what_no_process_writes_is_not_understood() {
        let header = FrameHeader {
            kind: FrameKind::Send,
            flags: 0,
            aux: 0,
            node: 1,
            process: 1,
            position: 1,
            session: 1,
        };
        let good = header.encode(b"");
        let with = |at: usize, value: u8| {
            let mut bytes = good.to_vec();
            bytes[at] = value;
            Bytes::from(bytes)
        };
        for bytes in [
            Bytes::new(),
            good.slice(..HEADER_BYTES - 1),
            with(0, 2),
            with(1, 200),
            with(3, 1),
        ] {
            assert_eq!(Frame::decode(&bytes), None);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_read_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let bytes = Bytes::from(bytes);
            if let Some(frame) = Frame::decode(&bytes) {
                prop_assert_eq!(frame.header.encode(&frame.payload), bytes);
            }
        }
    }
}
