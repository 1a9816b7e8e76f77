//! `compression = { … }` of a listener: permessage-deflate (RFC 7692).

use moorline_net::framing::websocket::deflate::{
    Direction, MAX_WINDOW_BITS, MIN_WINDOW_BITS, Parameters,
};
use serde::{Deserialize, Serialize};

use super::error::Reported;
use super::walk::{Field, Section};

/// Fast: the loop that compresses serves other sessions too.
const DEFAULT_LEVEL: u8 = 1;
/// A shorter message rarely becomes much shorter without earlier ones to refer to, in bytes.
const DEFAULT_MIN_MESSAGE: u64 = 512;
const DEFAULT_MEMORY: u64 = 64 << 20;

/// How messages of a WebSocket are compressed, for clients that offer it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compression {
    /// What may be agreed on.
    pub parameters: Parameters,
    /// 1 (fast) to 9 (small).
    pub level: u8,
    /// Shorter messages are sent as they are. Default 512 B.
    pub min_message: u64,
    /// The most memory of contexts and shared state in the gateway, in bytes. Default 64 MiB.
    pub memory: u64,
}

pub(super) fn compression(field: &Field<'_>) -> Result<Compression, Reported> {
    let section = field.section("`compression`", "write compression = { level = 1 }, or {}")?;
    let level = section.read("level", |field| field.number(1..=9));
    let server = direction(&section, "server_context_takeover", "server_window_bits");
    let client = direction(&section, "client_context_takeover", "client_window_bits");
    let min_message = section.read("min_message", |field| field.size());
    let memory = section.read("memory", |field| field.size());
    section.finish()?;
    Ok(Compression {
        parameters: Parameters {
            server: server?,
            client: client?,
        },
        level: level?.unwrap_or(DEFAULT_LEVEL),
        min_message: min_message?.unwrap_or(DEFAULT_MIN_MESSAGE),
        memory: memory?.unwrap_or(DEFAULT_MEMORY),
    })
}

fn direction(
    section: &Section<'_>,
    takeover: &'static str,
    bits: &'static str,
) -> Result<Direction, Reported> {
    let limits = u64::from(MIN_WINDOW_BITS)..=u64::from(MAX_WINDOW_BITS);
    let context_takeover = section.read(takeover, |field| field.flag());
    let window_bits = section.read(bits, |field| field.number(limits));
    Ok(Direction {
        context_takeover: context_takeover?.unwrap_or(false),
        window_bits: window_bits?.unwrap_or(MAX_WINDOW_BITS),
    })
}
