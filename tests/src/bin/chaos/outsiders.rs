//! Clients that nobody wants. What becomes of them is their own affair, as long as nobody else notices.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

/// Senders of one flood.
const FLOODERS: usize = 3;
/// What each sends at most, in messages of this many bytes: many times what a session may have queued.
const FLOOD_MESSAGES: usize = 1000;
const FLOOD_SIZE: usize = 32 << 10;
/// How long a flooder waits once it is not read any more.
const HELD_UP: Duration = Duration::from_secs(1);
/// Connections of one storm.
const VISITORS: usize = 200;

/// Sends as fast as it can and reads nothing.
pub(crate) fn flood(address: SocketAddr) {
    let flooders = (0..FLOODERS).map(|_| {
        thread::spawn(move || {
            let Ok(mut stream) = TcpStream::connect(address) else {
                return;
            };
            let _ = stream.set_write_timeout(Some(HELD_UP));
            let mut message = (FLOOD_SIZE as u32).to_be_bytes().to_vec();
            message.resize(4 + FLOOD_SIZE, 0);
            for _ in 0..FLOOD_MESSAGES {
                if stream.write_all(&message).is_err() {
                    return;
                }
            }
        })
    });
    for flooder in flooders.collect::<Vec<_>>() {
        flooder.join().expect("a flooder ends");
    }
}

/// Connects, again and again; some leave at once, some in the middle of a word.
pub(crate) fn storm(address: SocketAddr) {
    let visitors: Vec<_> = (0..VISITORS)
        .filter_map(|number| {
            let mut stream = TcpStream::connect(address).ok()?;
            if number % 2 == 0 {
                return None;
            }
            stream.write_all(&[0, 0, 1]).ok()?;
            Some(stream)
        })
        .collect();
    drop(visitors);
}

/// A length that no message has, and what follows it.
pub(crate) fn garbage(address: SocketAddr) {
    let Ok(mut stream) = TcpStream::connect(address) else {
        return;
    };
    let _ = stream.set_read_timeout(Some(HELD_UP));
    if stream.write_all(&[0xff; 1000]).is_ok() {
        // Its session's end, or nothing.
        let _ = stream.read(&mut [0; 16]);
    }
}

/// A message whose handler fails, and one whose handler ends its worker: each in a session that is closed for it.
pub(crate) fn poison(address: SocketAddr) {
    for command in ["!nonsense", "!crash"] {
        let Ok(mut stream) = TcpStream::connect(address) else {
            return;
        };
        let _ = stream.set_read_timeout(Some(HELD_UP));
        let mut message = (command.len() as u32).to_be_bytes().to_vec();
        message.extend_from_slice(command.as_bytes());
        if stream.write_all(&message).is_ok() {
            let _ = stream.read(&mut [0; 16]);
        }
    }
}
