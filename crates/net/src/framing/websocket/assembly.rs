//! A message in fragments.

use super::violation::Violation;

/// The fragments of a message that have arrived.
#[derive(Debug)]
pub(in crate::framing) struct Assembly {
    pub(in crate::framing) payload: Vec<u8>,
    pub(in crate::framing) kind: MessageKind,
}

/// The message that the fragments make up.
#[derive(Debug)]
pub(in crate::framing) enum MessageKind {
    Binary,
    /// The payload is compressed.
    Deflated {
        text: bool,
    },
    /// This many bytes are known to be UTF-8; at most three more may begin a character.
    Text {
        checked: usize,
    },
}

impl Assembly {
    pub(in crate::framing) fn buffered(&self) -> usize {
        self.payload.capacity()
    }

    /// Whether the message is compressed.
    pub(super) fn is_deflated(&self) -> bool {
        matches!(self.kind, MessageKind::Deflated { .. })
    }

    /// Appends a fragment. Text is checked as it grows, so that a peer cannot send much invalid text.
    pub(in crate::framing) fn append(&mut self, fragment: &[u8]) -> Result<(), Violation> {
        self.payload.extend_from_slice(fragment);
        if let MessageKind::Text { checked } = &mut self.kind {
            match std::str::from_utf8(&self.payload[*checked..]) {
                Ok(valid) => *checked += valid.len(),
                Err(error) if error.error_len().is_none() => *checked += error.valid_up_to(),
                Err(_) => return Err(Violation::NotUtf8),
            }
        }
        Ok(())
    }

    /// The whole message, and whether it is text.
    pub(super) fn finish(self) -> Result<(Vec<u8>, bool), Violation> {
        match self.kind {
            MessageKind::Binary => Ok((self.payload, false)),
            MessageKind::Deflated { text } => Ok((self.payload, text)),
            MessageKind::Text { checked } if checked == self.payload.len() => {
                Ok((self.payload, true))
            }
            MessageKind::Text { .. } => Err(Violation::NotUtf8),
        }
    }
}
