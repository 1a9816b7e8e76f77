//! The main thread's part of a stop and of a drain: it tells the loops, and learns when they have closed all sessions.

use std::io;
use std::time::Duration;

use crate::commands::Order;
use crate::commands::{Command, Report};
use crate::ids::ListenerId;
use crate::main_thread::Gateway;
use moorline_protocol::control::{FromRole, ToRole};
use moorline_protocol::flight::FlightKind;

/// The number of the drain that a stop is: no other comes after it.
const STOP: u64 = u64::MAX;

impl Gateway {
    /// Makes the loops close the present sessions, over the first time of a drain, and cut them off after the second. HTTP
    /// connections end, too, if they are to.
    pub(crate) fn begin_drain(&mut self, message: ToRole) {
        let ToRole::Drain {
            number,
            places,
            over_ms,
            max_wait_ms,
            ends_http,
        } = message
        else {
            return;
        };
        let (over, max_wait) = (
            Duration::from_millis(over_ms),
            Duration::from_millis(max_wait_ms),
        );
        let seed = fastrand::u64(..);
        tracing::debug!(number, seed, "draining");
        let listeners = places.map(|places| places.into_iter().map(ListenerId).collect());
        let order = Order {
            number,
            over,
            max_wait,
            listeners,
            seed,
        };
        self.draining = self.loops.len() + usize::from(ends_http);
        self.drain = Some(number);
        self.flight.note(FlightKind::Drains, 0, 0, 0);
        self.tell_loops(|index| Command::Drain(order.of_loop(index)));
        if ends_http {
            let (shared, reports) = (self.shared.clone(), self.reporter.clone());
            tokio::task::spawn_local(async move {
                shared.http.end_present(over + max_wait).await;
                // The main thread lives as long as the process.
                let _ = reports.send(Report::Drained(number));
            });
        }
    }

    /// One more loop has closed all sessions of the drain of this number, or HTTP connections have ended.
    pub(crate) async fn drained(&mut self, number: u64) {
        if self.drain != Some(number) {
            return;
        }
        self.draining -= 1;
        if self.draining > 0 {
            return;
        }
        self.drain = None;
        let ended = FromRole::DrainEnded { number };
        self.say(&ended).await;
    }

    /// Makes loops and HTTP connections end their work. Each party reports `Report::Empty` when it has.
    pub(crate) fn stop(&mut self, over: Duration, max_wait: Duration) {
        if std::mem::replace(&mut self.is_stopping, true) {
            return;
        }
        self.flight.note(FlightKind::Drains, 0, 0, 0);
        let seed = fastrand::u64(..);
        tracing::debug!(seed, "stopping");
        let order = Order {
            number: STOP,
            over,
            max_wait,
            listeners: None,
            seed,
        };
        self.tell_loops(|index| Command::Stop(order.of_loop(index)));
        let (shared, reports) = (self.shared.clone(), self.reporter.clone());
        tokio::task::spawn_local(async move {
            // Connections that have not ended by then are given up, as in the loops.
            let _ = tokio::time::timeout(over + max_wait, shared.http.stop(over)).await;
            // The main thread lives as long as the process.
            let _ = reports.send(Report::Empty);
        });
    }

    /// The parties that report `Report::Empty`: each loop, HTTP, and each HTTP connection that came late.
    pub(crate) fn parties(&self) -> usize {
        self.loops.len() + 1 + self.late
    }

    /// An HTTP connection has come. During a stop its end is waited for, too.
    pub(super) fn note_http(&mut self) {
        if !self.is_stopping || self.empty == self.parties() {
            return;
        }
        self.late += 1;
        let (shared, reports, max_wait) =
            (self.shared.clone(), self.reporter.clone(), self.max_wait);
        tokio::task::spawn_local(async move {
            let _ = tokio::time::timeout(max_wait, shared.http.none_is_left()).await;
            // The main thread lives as long as the process.
            let _ = reports.send(Report::Empty);
        });
    }

    /// The supervisor is gone: no orphan stays.
    pub(crate) async fn drain_alone(mut self) -> io::Result<()> {
        if self.empty == self.parties() {
            return Ok(());
        }
        tracing::warn!("the supervisor is gone, draining");
        let max_wait = self.max_wait;
        self.stop(Duration::ZERO, max_wait);
        let drained = async {
            while self.empty < self.parties() {
                match self.reports.recv().await {
                    Some(Report::Empty) => self.empty += 1,
                    Some(_) => {}
                    None => return,
                }
            }
        };
        // The loops end by the deadline themselves; the second on top is for a loop that does not.
        let _ = tokio::time::timeout(max_wait + Duration::from_secs(1), drained).await;
        Ok(())
    }
}
