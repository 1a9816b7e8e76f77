//! How far the closing of sessions has come: by a stop, or by a drain, after which the engine goes on.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::control_socket::Answers;
use moorline_config::Listener;
use moorline_protocol::command::Answer;
use moorline_protocol::control::{ProcessId, ToRole};

use super::super::plan::seconds;
use super::super::status;
use super::{Shell, milliseconds};

/// How often it is said how far it has come.
const PROGRESS: Duration = Duration::from_secs(5);
/// How long a drain takes that nobody has named a time for, nor has the configuration for a stop.
const DEFAULT_OVER: Duration = Duration::from_secs(30);
/// As long as any duration of a configuration: a year.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// The gateway may say so late after its own deadline that all are closed.
const GRACE: Duration = Duration::from_secs(5);

/// What tells a role to stop.
fn stop(over: Duration, max_wait: Duration) -> ToRole {
    ToRole::Stop {
        over_ms: milliseconds(over),
        max_wait_ms: milliseconds(max_wait),
    }
}

/// Sessions are being closed.
pub(super) struct Closing {
    begun: Instant,
    over: Duration,
    said_at: Instant,
    why: Why,
}

enum Why {
    Stop,
    Drain {
        number: u64,
        /// When it is given up.
        deadline: Instant,
        answers: Answers,
    },
}

impl Closing {
    fn new(over: Duration, why: Why) -> Self {
        let now = Instant::now();
        Self {
            begun: now,
            over,
            said_at: now,
            why,
        }
    }

    fn verb(&self) -> &'static str {
        match self.why {
            Why::Stop => "stopping",
            Why::Drain { .. } => "draining",
        }
    }
}

impl Shell {
    /// Tells a process to stop.
    pub(super) fn stop_process(&mut self, process: ProcessId, max_wait: Duration) {
        self.send_process(process, &stop(Duration::ZERO, max_wait));
    }

    /// Tells the gateway to close all sessions, over this time.
    pub(super) fn stop_gateway(&mut self, over: Duration, max_wait: Duration) {
        let closing = Closing::new(over, Why::Stop);
        if let Some(Closing {
            why: Why::Drain { answers, .. },
            ..
        }) = self.closing.replace(closing)
        {
            answers.give(Answer::Refused("the engine is stopping".to_owned()));
        }
        self.send_gateway(&stop(over, max_wait));
    }

    /// Someone asks for the sessions that are there now to be closed.
    pub(super) fn drain(
        &mut self,
        over: Option<Duration>,
        listener: Option<&str>,
        answers: Answers,
    ) {
        match self.begin_drain(over, listener, answers.clone()) {
            Ok(over) => {
                let sessions = match listener {
                    Some(listener) => format!("the sessions of {listener}"),
                    None => "all sessions".to_owned(),
                };
                info!("draining: {sessions} close over {}", seconds(over));
                answers.give(Answer::Progress(format!(
                    "closing {sessions} over {}",
                    seconds(over)
                )));
            }
            Err(reason) => answers.give(Answer::Refused(reason)),
        }
    }

    fn begin_drain(
        &mut self,
        over: Option<Duration>,
        listener: Option<&str>,
        answers: Answers,
    ) -> Result<Duration, String> {
        if !self.plan.is_serving() {
            return Err("the engine does not serve, or is stopping".to_owned());
        }
        if self.closing.is_some() {
            return Err(
                "sessions are being closed already; `status` shows how far that has come"
                    .to_owned(),
            );
        }
        let [generation, _] = self.plan.generations();
        let deployment = self
            .deployments
            .get(&generation)
            .ok_or("the present configuration is lost")?;
        let config = &deployment.config;
        let places = listener
            .map(|name| places(&config.listeners, name))
            .transpose()?;
        let configured = config.engine.stop_over;
        let default = if configured.is_zero() {
            DEFAULT_OVER
        } else {
            configured
        };
        let (over, max_wait) = (over.unwrap_or(default), config.workers.max_wait);
        if over > LONGEST {
            return Err("the time is too long: a year is the most".to_owned());
        }
        let Some(outbox) = self
            .gateway
            .as_ref()
            .and_then(|gateway| gateway.outbox.as_ref())
        else {
            return Err("there is no gateway at the moment".to_owned());
        };
        self.last_drain += 1;
        let number = self.last_drain;
        let drain = ToRole::Drain {
            number,
            places,
            over_ms: milliseconds(over),
            max_wait_ms: milliseconds(max_wait),
        };
        outbox
            .send(&drain, Vec::new())
            .map_err(|error| format!("the gateway cannot be told: {error}"))?;
        let deadline = Instant::now() + over + max_wait + GRACE;
        let why = Why::Drain {
            number,
            deadline,
            answers,
        };
        self.closing = Some(Closing::new(over, why));
        Ok(over)
    }

    /// The gateway has closed the sessions of a drain.
    pub(super) fn drain_ended(&mut self, incarnation: u32, ended: u64) {
        let Some(gateway) = self.gateway.as_ref() else {
            return;
        };
        if gateway.incarnation != incarnation {
            return;
        }
        let (_, count) = status::closing(&gateway.board, gateway.loops);
        let is_it = |closing: &mut Closing| matches!(closing.why, Why::Drain { number, .. } if number == ended);
        if let Some(Closing {
            why: Why::Drain { answers, .. },
            begun,
            ..
        }) = self.closing.take_if(is_it)
        {
            let text = format!("closed {count} sessions in {}", seconds(begun.elapsed()));
            info!("drained: {text}");
            answers.give(Answer::Done(text));
        }
    }

    /// A drain ends with the gateway, which has closed everything.
    pub(super) fn drain_is_lost(&mut self) {
        let is_drain = |closing: &mut Closing| matches!(closing.why, Why::Drain { .. });
        if let Some(Closing {
            why: Why::Drain { answers, .. },
            ..
        }) = self.closing.take_if(is_drain)
        {
            answers.give(Answer::Refused("the gateway has ended".to_owned()));
        }
    }

    /// Says from time to time how far it has come.
    pub(super) fn look_at_closing(&mut self) {
        let (Some(closing), Some(gateway)) = (&mut self.closing, &self.gateway) else {
            return;
        };
        let (left, count) = status::closing(&gateway.board, gateway.loops);
        if let Why::Drain {
            deadline, answers, ..
        } = &closing.why
            && Instant::now() > *deadline
        {
            warn!(
                "draining: {left} of {count} sessions are left, and the gateway does not say why"
            );
            let reason = format!("the gateway is late: {left} of {count} sessions are left");
            answers.give(Answer::Refused(reason));
            self.closing = None;
            return;
        }
        if closing.said_at.elapsed() < PROGRESS || left == 0 {
            return;
        }
        closing.said_at = Instant::now();
        let text = format!("{left} of {count} sessions are left");
        info!("{}: {text}", closing.verb());
        if let Why::Drain { answers, .. } = &closing.why {
            answers.give(Answer::Progress(text));
        }
    }

    /// What `status` says of it.
    pub(super) fn closing_status(&self) -> Option<Value> {
        let (closing, gateway) = (self.closing.as_ref()?, self.gateway.as_ref()?);
        let (left, count) = status::closing(&gateway.board, gateway.loops);
        Some(json!({
            "why": closing.verb(),
            "left": left,
            "of": count,
            "over_ms": milliseconds(closing.over),
            "elapsed_ms": milliseconds(closing.begun.elapsed()),
        }))
    }
}

/// The places of the listeners of this name: the one that accepts, and those that are retired.
fn places(listeners: &[Listener], name: &str) -> Result<Vec<u16>, String> {
    let named = (0..).zip(listeners).filter(|(_, it)| it.name == name);
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
