//! A client that sends as fast as it can, for some seconds.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tungstenite::Message;

use crate::visitor::open;

/// How long it sends.
const TIME: Duration = Duration::from_secs(5);
/// Messages between two looks at the clock.
const BATCH: usize = 100;
/// The bytes of a message.
const BYTES: usize = 128;

/// Floods. Returns how many messages the engine has taken, or why it could not go on.
pub(crate) fn flood(door: SocketAddr) -> Result<u64, String> {
    let mut socket = open(door).map_err(|error| error.to_string())?;
    // The engine reads no faster than it handles: then writing waits.
    let patience = Some(Duration::from_secs(30));
    let stream = socket.get_ref();
    stream
        .set_write_timeout(patience)
        .map_err(|error| error.to_string())?;
    let message = Message::binary(vec![b'x'; BYTES]);
    let (begun, mut sent) = (Instant::now(), 0);
    while begun.elapsed() < TIME {
        for _ in 0..BATCH {
            let written = socket.send(message.clone());
            written.map_err(|error| format!("after {sent} messages: {error}"))?;
            sent += 1;
        }
    }
    // It has been read, or will be.
    let _ = socket.close(None);
    let _ = socket.flush();
    Ok(sent)
}
