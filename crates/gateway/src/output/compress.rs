//! Compression of a session's output: what is agreed on, which messages are compressed, and by which state.

use moorline_config::Compression as Settings;
use moorline_net::framing::websocket::deflate::{Deflater, Inflater, negotiate};

use crate::codecs::{Sharing, deflate};
use crate::cx::Cx;
use crate::memory::{Class, Memory};
use crate::session::Session;
use crate::session::compression::Compression;
use crate::tools::Tools;

/// How a message of this length is compressed for a session that shares it with others. `None`: it is sent as it is.
pub(crate) fn sharing(session: &Session, length: usize, cx: &Cx) -> Option<Sharing> {
    let agreed = session.compression.as_ref()?.agreed;
    let settings = settings_for(session, length, cx)?;
    Some(Sharing::new(settings.level, agreed.server))
}

/// The settings by which a message of this length is compressed. `None`: it is not.
fn settings_for<'a>(session: &Session, length: usize, cx: &'a Cx) -> Option<&'a Settings> {
    let listener = cx.listener(session.listener);
    // A reload may have ended it: plain messages are always legal.
    let settings = listener.compression.as_ref()?;
    let is_meant = length as u64 >= settings.min_message;
    // Too long: it is refused by its own length.
    (is_meant && length as u64 <= listener.framing.max_message()).then_some(settings)
}

/// Agrees with the client of a new session on what it offers, and returns the answer to it. Without room for the client's
/// context it must do without.
pub(crate) fn agree(session: &mut Session, offers: &[&str], tools: &mut Tools) -> Option<String> {
    if offers.is_empty() {
        return None;
    }
    let listener = tools.cx.listener(session.listener);
    let settings = listener.compression.as_ref()?;
    let mut allowed = settings.parameters;
    let bytes = Inflater::bytes();
    allowed.client.context_takeover &= has_room(settings, bytes, &tools.memory, &tools.cx);
    let (agreed, answer) = negotiate(offers.iter().copied(), &allowed)?;
    let compression = Compression::new(agreed);
    tools.memory.hold(Class::Compression, compression.held());
    session.compression = Some(Box::new(compression));
    Some(answer)
}

/// Whether this many bytes more are within the loop's part of the listener's `memory`.
fn has_room(settings: &Settings, bytes: usize, memory: &Memory, cx: &Cx) -> bool {
    let part = settings.memory / cx.peers.len().max(1) as u64;
    let held = memory.of(Class::Compression);
    held + bytes as u64 <= part && !memory.would_pass_limit(bytes)
}

/// Compresses a message for the session, and returns where its frame begins in `out`. `None`: it is sent as it is.
pub(crate) fn deflate_for(
    session: &mut Session,
    message: &[u8],
    text: bool,
    out: &mut Vec<u8>,
    tools: &mut Tools,
) -> Option<usize> {
    let sharing = sharing(session, message.len(), &tools.cx)?;
    let settings = tools.cx.listener(session.listener).compression.as_ref()?;
    let compression = session.compression.as_mut()?;
    let server = compression.agreed.server;
    let bytes = Deflater::bytes(server);
    if compression.deflater.is_none()
        && server.context_takeover
        && has_room(settings, bytes, &tools.memory, &tools.cx)
    {
        compression.deflater = Some(Deflater::new(settings.level, server));
        tools.memory.hold(Class::Compression, bytes);
    }
    if let Some(deflater) = &mut compression.deflater {
        return Some(deflate(deflater, message, text, out));
    }
    let codecs = &mut tools.scratch.codecs;
    let before = codecs.held();
    let start = deflate(codecs.deflater(sharing), message, text, out);
    tools
        .memory
        .change(Class::Compression, before, codecs.held());
    (out.len() - start < message.len()).then_some(start)
}
