//! What a WebSocket session has agreed on about compression (permessage-deflate, RFC 7692).
//!
//! Without context takeover it owns nothing of zlib's: one inflater and a few deflaters serve all sessions of a loop. With it,
//! it has its own from its first compressed message on.

use moorline_net::framing::websocket::deflate::{Deflater, Inflater, Parameters};
use moorline_net::{Decoded, Decoder, FramingError};
use serde::{Deserialize, Serialize};

use crate::codecs::Codecs;

/// What a session has agreed on, and its contexts.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Compression {
    pub(crate) agreed: Parameters,
    #[serde(skip)]
    inflater: Option<Inflater>,
    /// Its next message need not refer to an earlier one, so another process begins anew.
    #[serde(skip)]
    pub(crate) deflater: Option<Deflater>,
}

impl Compression {
    pub(crate) fn new(agreed: Parameters) -> Self {
        Self {
            agreed,
            inflater: None,
            deflater: None,
        }
    }

    /// Bytes counted for it. A client's context counts from the beginning: it cannot be refused later.
    pub(crate) fn held(&self) -> usize {
        let inflater = match self.agreed.client.context_takeover {
            true => Inflater::bytes(),
            false => 0,
        };
        let deflater = self.deflater.as_ref();
        inflater + deflater.map_or(0, |_| Deflater::bytes(self.agreed.server))
    }

    /// Whether the client's next message may refer to earlier ones, which only this process knows.
    pub(crate) fn has_context(&self) -> bool {
        self.inflater.is_some()
    }

    /// What the first bytes of `input` are.
    pub(crate) fn decode(
        &mut self,
        decoder: &mut Decoder,
        max: u64,
        input: &mut [u8],
        codecs: &mut Codecs,
    ) -> Result<Decoded, FramingError> {
        let client = self.agreed.client;
        let inflater = match client.context_takeover {
            true => self.inflater.get_or_insert_with(|| Inflater::new(client)),
            false => codecs.inflater(),
        };
        decoder.decode_deflated(max, input, inflater)
    }

    /// The client was sent a message that our context does not have.
    pub(crate) fn forget(&mut self) {
        if let Some(deflater) = &mut self.deflater {
            deflater.reset();
        }
    }
}
