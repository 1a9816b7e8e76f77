//! What goes to a collector of OpenTelemetry: the metrics, and traces of what the flight recorder has noted.
//!
//! Nothing waits for the collector. Metrics count from the beginning of the engine, so that the next ones make up for those
//! that did not arrive. Traces are made from the events that the processes keep anyway, so that those of a failed export are
//! made again as long as the events are there. So a collector that cannot be reached costs one export's memory.

mod collector;
mod events;
mod measured;
mod resource;
mod spans;

use std::convert::Infallible;
use std::time::Duration;

use moorline_config::Otlp;
use tokio::time::{MissedTickBehavior, interval};

use super::engine::Engine;
use collector::{Collector, NotSent};
use events::Events;

/// Exports until the process ends.
pub(super) async fn export(engine: Engine, settings: &Otlp) -> Infallible {
    let collector = Collector::new(settings);
    let mut ticks = interval(settings.interval.max(SHORTEST));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut state = Reached::Unknown;
    // Of the clock of the events: what has ended until then is sent.
    let mut sent_until = 0;
    loop {
        ticks.tick().await;
        let service = &settings.service;
        let outcome = export_once(&engine, &collector, service, &mut sent_until).await;
        state = state.after(settings, outcome);
    }
}

/// A moment between two exports, whatever the configuration says.
const SHORTEST: Duration = Duration::from_millis(100);

async fn export_once(
    engine: &Engine,
    collector: &Collector,
    service: &str,
    sent_until: &mut u64,
) -> Result<(), NotSent> {
    // A supervisor that is busy is asked again with the next export.
    let Ok(seen) = engine.look().await else {
        return Ok(());
    };
    let resource = resource::of(&seen.status, service);
    collector
        .send("v1/metrics", &measured::request(&seen, &resource))
        .await?;
    let Ok(told) = engine.events().await else {
        return Ok(());
    };
    let Some(events) = Events::read(&told) else {
        return Ok(());
    };
    let until = events.settled_ns();
    let spans = spans::ended(&events, *sent_until, until);
    if !spans.is_empty() {
        let request = spans::request(spans, &resource);
        collector.send("v1/traces", &request).await?;
    }
    *sent_until = until;
    Ok(())
}

/// Whether the last export arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    Unknown,
    Yes,
    No,
}

impl Reached {
    /// Says when that changes, and not with each export. The supervisor logs what this process prints.
    fn after(self, settings: &Otlp, outcome: Result<(), NotSent>) -> Self {
        let endpoint = settings.endpoint();
        match (self, outcome) {
            (Self::No, Ok(())) => println!("sends metrics and traces to {endpoint} again"),
            (Self::Unknown, Ok(())) => println!("sends metrics and traces to {endpoint}"),
            (Self::Unknown | Self::Yes, Err(reason)) => {
                eprintln!(
                    "metrics and traces do not reach {endpoint}: {reason}; it is tried again, without a line for each time"
                );
                return Self::No;
            }
            (Self::No, Err(_)) => return Self::No,
            (Self::Yes, Ok(())) => {}
        }
        Self::Yes
    }
}
