//! What HTTP connections hear of a stop: those without a request end at once, the others with their answer.

use tokio::sync::watch;

/// The connections of all listeners, and whether they are to end.
#[derive(Debug)]
pub(crate) struct Stopping {
    is_stopping: watch::Sender<bool>,
    connections: watch::Sender<usize>,
}

impl Default for Stopping {
    fn default() -> Self {
        Self {
            is_stopping: watch::Sender::new(false),
            connections: watch::Sender::new(0),
        }
    }
}

impl Stopping {
    /// Tells all connections to end, and waits until they have.
    pub(crate) async fn stop(&self) {
        self.is_stopping.send_replace(true);
        let mut connections = self.connections.subscribe();
        // The sender lives as long as this.
        let _ = connections.wait_for(|connections| *connections == 0).await;
    }

    /// Waits until connections are to end. Cancel-safe.
    pub(crate) async fn asked(&self) {
        let mut is_stopping = self.is_stopping.subscribe();
        // The sender lives as long as this.
        let _ = is_stopping.wait_for(|is_stopping| *is_stopping).await;
    }

    /// One more connection, until what this returns is dropped.
    pub(crate) fn connection(&self) -> Connection<'_> {
        self.connections
            .send_modify(|connections| *connections += 1);
        Connection(self)
    }
}

/// A connection that a stop waits for.
pub(crate) struct Connection<'a>(&'a Stopping);

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        let connections = &self.0.connections;
        connections.send_modify(|connections| *connections -= 1);
    }
}
