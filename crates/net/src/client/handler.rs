//! What a client calls when something happens.

use super::error::CloseReason;
use super::state::Client;
use crate::dial::ConnectError;

/// What a client calls when something happens, one call at a time, on the loop that it was started on.
///
/// Each attempt to connect ends in exactly one of [`connected`](Self::connected) and [`error`](Self::error).
/// After `connected`, [`closed`](Self::closed) comes once, and nothing of that connection after it. By the time
/// that `error` or `closed` is called the socket is closed.
///
/// The calls must not block: the whole loop would wait. What they send is queued, and goes out together once
/// they return.
pub trait Handler: Send {
    /// An attempt has succeeded.
    fn connected(&mut self, client: &mut Client);

    /// A whole message has come; with raw framing, any received bytes.
    fn message(&mut self, client: &mut Client, message: &[u8]);

    /// The connection is closed. If the client reconnects, an attempt follows.
    fn closed(&mut self, client: &mut Client, reason: &CloseReason);

    /// An attempt has failed. If the client reconnects, another follows.
    fn error(&mut self, client: &mut Client, error: &ConnectError);

    /// The high watermark is passed: sends are refused.
    fn full(&mut self, client: &mut Client) {
        let _ = client;
    }

    /// No more waits than the low watermark allows: sends are taken again.
    fn drained(&mut self, client: &mut Client) {
        let _ = client;
    }

    /// The peer has ended its sending, and receives on. Comes if the client stays open for that, see
    /// [`ClientOptions::half_closed_timeout`](super::ClientOptions::half_closed_timeout);
    /// [`start_close`](Client::start_close) ends it when all is answered.
    fn half_closed(&mut self, client: &mut Client) {
        let _ = client;
    }

    /// Comes every [`ClientOptions::tick`](super::ClientOptions::tick) from the start to the end, connected or
    /// not: for heartbeats and the like.
    fn tick(&mut self, client: &mut Client) {
        let _ = client;
    }
}
