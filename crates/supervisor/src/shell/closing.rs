//! How sessions are closed: by a stop, and by a drain, after which the engine continues.

use std::time::Duration;

use moorline_config::Listener;
use moorline_protocol::control::{ProcessId, ToRole};
use serde_json::{Value, json};

use super::super::control_socket::Answers;
use super::super::plan::{DrainRequest, Event, Left};
use super::super::status;
use super::{Shell, milliseconds};

impl Shell {
    /// Tells a process to stop.
    pub(super) fn stop_process(&mut self, process: ProcessId, max_wait: Duration) {
        self.send_process(process, &stop(Duration::ZERO, max_wait));
    }

    /// Tells the gateway to close all sessions, over this time.
    pub(super) fn stop_gateway(&mut self, over: Duration, max_wait: Duration) {
        self.send_gateway(&stop(over, max_wait));
    }

    /// Tells the gateway to close the sessions of these listeners, or all.
    pub(super) fn drain_gateway(
        &mut self,
        number: u64,
        places: Option<Vec<u16>>,
        over: Duration,
        max_wait: Duration,
    ) {
        self.send_gateway(&ToRole::Drain {
            number,
            places,
            over_ms: milliseconds(over),
            max_wait_ms: milliseconds(max_wait),
            ends_http: false,
        });
    }

    /// Someone asks for the sessions that are there now to be closed.
    pub(super) fn drain(
        &mut self,
        over: Option<Duration>,
        listener: Option<String>,
        answers: Answers,
    ) {
        let places = listener.as_deref().map(|name| self.places(name));
        let request = DrainRequest {
            over,
            places: places.transpose(),
            listener,
        };
        let caller = self.new_caller(answers);
        self.tell(Event::DrainAsked { caller, request });
    }

    /// The places of the listeners with this name: the one that accepts, and retired ones.
    pub(super) fn places(&self, name: &str) -> Result<Vec<u16>, String> {
        let [generation, _] = self.plan.generations();
        let present = self.deployments.get(&generation);
        let listeners: &[Listener] = present.map_or(&[], |present| &present.config.listeners);
        let is_meant = |it: &Listener| it.name == name || it.host.as_deref() == Some(name);
        let named = (0..).zip(listeners).filter(|(_, it)| is_meant(it));
        let places: Vec<u16> = named.map(|(place, _)| place).collect();
        if places.is_empty() {
            let names = listeners.iter().filter(|it| !it.is_retired);
            let names: Vec<_> = names.map(|it| it.name.as_str()).collect();
            return Err(format!(
                "there is no listener of that name; there are {}",
                names.join(", ")
            ));
        }
        Ok(places)
    }

    /// How many sessions the gateway has not closed yet.
    pub(super) fn left(&self) -> Option<Left> {
        let gateway = self.gateway.as_ref()?;
        let (left, of) = status::closing(&gateway.board, gateway.loops);
        Some(Left { left, of })
    }

    /// The gateway has closed all sessions, because the engine stops.
    pub(super) fn stop_ended(&self) {
        if let Some(Left { of, .. }) = self.left() {
            self.plan.tell_stopped(of, self.started.elapsed());
        }
    }

    /// As `status` shows it.
    pub(super) fn closing_status(&self) -> Option<Value> {
        let (closing, Left { left, of }) = (self.plan.closing()?, self.left()?);
        Some(json!({
            "why": closing.verb(),
            "left": left,
            "of": of,
            "over_ms": milliseconds(closing.over),
            "elapsed_ms": milliseconds(closing.elapsed(self.started.elapsed())),
        }))
    }
}

/// The message that tells a role to stop.
fn stop(over: Duration, max_wait: Duration) -> ToRole {
    ToRole::Stop {
        over_ms: milliseconds(over),
        max_wait_ms: milliseconds(max_wait),
    }
}
