//! How HTTP connections end at a stop: each at a moment of its own within the time that sessions have for that. A
//! connection with a request in progress ends after its answer.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The connections of all listeners, and when they must end.
#[derive(Debug)]
pub(crate) struct Stopping {
    period: watch::Sender<Option<Period>>,
    connections: watch::Sender<usize>,
    /// How often all connections were asked to end.
    turns: watch::Sender<u64>,
    /// How often all were cut.
    cuts: watch::Sender<u64>,
}

/// The time in which all of them end.
#[derive(Debug, Clone, Copy)]
struct Period {
    begun: Instant,
    over: Duration,
}

impl Default for Stopping {
    fn default() -> Self {
        Self {
            period: watch::Sender::new(None),
            connections: watch::Sender::new(0),
            turns: watch::Sender::new(0),
            cuts: watch::Sender::new(0),
        }
    }
}

impl Stopping {
    /// Tells all connections to end over this time, and waits until they have.
    pub(crate) async fn stop(&self, over: Duration) {
        let begun = Instant::now();
        self.period.send_replace(Some(Period { begun, over }));
        self.none_is_left().await;
    }

    /// Ends the connections that there are, those with a request in progress after its answer, and waits for that no longer
    /// than this. Later ones are served as always.
    pub(crate) async fn end_present(&self, most: Duration) {
        self.turns.send_modify(|turns| *turns += 1);
        let _ = tokio::time::timeout(most, self.none_is_left()).await;
    }

    /// Cuts the connections that there are, and waits until they are gone, no longer than this.
    pub(crate) async fn cut(&self, most: Duration) {
        self.cuts.send_modify(|cuts| *cuts += 1);
        let _ = tokio::time::timeout(most, self.none_is_left()).await;
    }

    /// Waits until the calling connection is cut.
    pub(crate) async fn is_cut(&self) {
        // The sender lives as long as this.
        let _ = self.cuts.subscribe().changed().await;
    }

    /// How many connections there are.
    pub(crate) fn connections(&self) -> usize {
        *self.connections.borrow()
    }

    /// Waits until no connection is left.
    pub(crate) async fn none_is_left(&self) {
        let mut connections = self.connections.subscribe();
        // The sender lives as long as this.
        let _ = connections.wait_for(|connections| *connections == 0).await;
    }

    /// Whether connections must end: nothing that lasts begins any more.
    pub(crate) fn is_under_way(&self) -> bool {
        self.period.borrow().is_some()
    }

    /// Waits until the calling connection must end.
    pub(crate) async fn asked(&self) {
        let mut turns = self.turns.subscribe();
        tokio::select! {
            () = self.stops() => {}
            // The sender lives as long as this.
            _ = turns.changed() => {}
        }
    }

    /// Waits until it must end for a stop: at a random moment, because clients that all came back at once would be a burden
    /// for the next engine.
    async fn stops(&self) {
        let mut period = self.period.subscribe();
        // The sender lives as long as this.
        let Ok(period) = period.wait_for(Option::is_some).await.map(|period| *period) else {
            return;
        };
        if let Some(Period { begun, over }) = period {
            sleep_until(begun + over.mul_f64(fastrand::f64())).await;
        }
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
