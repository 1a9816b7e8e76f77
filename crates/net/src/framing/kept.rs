//! What a decoder knows, for another process that goes on with its stream.

use serde::{Deserialize, Serialize};

use super::decoded::DecoderState;
#[cfg(feature = "websocket")]
use super::websocket::assembly::{Assembly, MessageKind};

/// What a [`Decoder`](super::Decoder) knows beside its input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeptDecoder {
    /// The next message has no end in this many bytes of the input.
    Scanned(usize),
    /// These fragments of a WebSocket message have arrived.
    Fragments {
        /// Their bytes.
        payload: Vec<u8>,
        /// What they make up.
        kind: KeptMessageKind,
    },
}

/// The message that fragments make up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeptMessageKind {
    /// Bytes.
    Binary,
    /// Text.
    Text,
    /// Compressed bytes.
    DeflatedBinary,
    /// Compressed text.
    DeflatedText,
}

impl KeptDecoder {
    pub(super) fn of(state: &DecoderState) -> Option<Self> {
        match state {
            DecoderState::Fresh => Some(Self::Scanned(0)),
            DecoderState::Scanned(bytes) => Some(Self::Scanned(*bytes)),
            #[cfg(feature = "websocket")]
            DecoderState::Fragments(assembly) => Some(Self::Fragments {
                payload: assembly.payload.clone(),
                kind: match assembly.kind {
                    MessageKind::Binary => KeptMessageKind::Binary,
                    MessageKind::Text { .. } => KeptMessageKind::Text,
                    MessageKind::Deflated { text: false } => KeptMessageKind::DeflatedBinary,
                    MessageKind::Deflated { text: true } => KeptMessageKind::DeflatedText,
                },
            }),
            #[cfg(feature = "websocket")]
            DecoderState::Assembled(_) => None,
        }
    }

    /// `None`: text of it is none.
    pub(super) fn into_state(self) -> Option<DecoderState> {
        match self {
            Self::Scanned(0) => Some(DecoderState::Fresh),
            Self::Scanned(bytes) => Some(DecoderState::Scanned(bytes)),
            #[cfg(feature = "websocket")]
            Self::Fragments { payload, kind } => {
                let kind = match kind {
                    KeptMessageKind::Binary => MessageKind::Binary,
                    KeptMessageKind::Text => MessageKind::Text { checked: 0 },
                    KeptMessageKind::DeflatedBinary => MessageKind::Deflated { text: false },
                    KeptMessageKind::DeflatedText => MessageKind::Deflated { text: true },
                };
                let mut assembly = Assembly { payload, kind };
                // Checks the text again: the bytes come from elsewhere.
                assembly.append(&[]).ok()?;
                Some(DecoderState::Fragments(Box::new(assembly)))
            }
            #[cfg(not(feature = "websocket"))]
            Self::Fragments { .. } => None,
        }
    }
}
