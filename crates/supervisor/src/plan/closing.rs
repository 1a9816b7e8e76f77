//! Sessions are being closed: by a stop, or by a drain, after which the engine continues.

use std::time::Duration;

use tracing::{info, warn};

use super::{Action, Caller, Now, Plan, Reply, seconds};

/// How often the number of sessions left is logged.
const PROGRESS: Duration = Duration::from_secs(5);
/// How long a drain takes if neither the command nor `stop_over` says it.
const DEFAULT_OVER: Duration = Duration::from_secs(30);
/// As long as any duration in a configuration: a year.
pub(super) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// The gateway has this long after its own deadline to report that all are closed.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// Sessions that a stop or a drain has not closed yet, and how many it began with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) left: u64,
    pub(crate) of: u64,
}

/// Sessions are being closed.
#[derive(Debug)]
pub(crate) struct Closing {
    begun: Now,
    pub(crate) over: Duration,
    told_at: Now,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Stop,
    Drain {
        number: u64,
        /// When the caller learns that the gateway is late.
        deadline: Now,
        caller: Caller,
    },
}

/// A request for a drain.
#[derive(Debug, Clone)]
pub(crate) struct DrainRequest {
    /// Over how much time the closings are spread, if the command says it.
    pub(crate) over: Option<Duration>,
    /// The listener whose sessions are closed; without one, all listeners.
    pub(crate) listener: Option<String>,
    /// Its places, or why there are none.
    pub(crate) places: Result<Option<Vec<u16>>, String>,
}

impl Closing {
    fn new(over: Duration, why: Why, now: Now) -> Self {
        Self {
            begun: now,
            over,
            told_at: now,
            why,
        }
    }

    pub(crate) fn verb(&self) -> &'static str {
        match self.why {
            Why::Stop => "stopping",
            Why::Drain { .. } => "draining",
        }
    }

    pub(crate) fn elapsed(&self, now: Now) -> Duration {
        now.saturating_sub(self.begun)
    }

    /// How long until the number of sessions left is logged again. Short closings are logged, too.
    fn pause(&self, now: Now) -> Duration {
        match self.elapsed(now) < self.over {
            true => PROGRESS.min(self.over / 4),
            false => PROGRESS,
        }
    }

    fn caller(&self) -> Option<Caller> {
        match self.why {
            Why::Stop => None,
            Why::Drain { caller, .. } => Some(caller),
        }
    }
}

impl Plan {
    pub(crate) fn closing(&self) -> Option<&Closing> {
        self.closing.as_ref()
    }

    /// The gateway is told to stop. A drain in progress becomes part of that.
    pub(super) fn stop_closes(&mut self, over: Duration, now: Now) {
        let stop = Closing::new(over, Why::Stop, now);
        let drain = self.closing.replace(stop);
        self.refuse_drain(drain, "the engine is stopping");
    }

    pub(super) fn drain_asked(&mut self, caller: Caller, request: DrainRequest, now: Now) {
        let sessions = match &request.listener {
            Some(listener) => format!("the sessions of {listener}"),
            None => "all sessions".to_owned(),
        };
        let reply = match self.begin_drain(caller, request, now) {
            Ok(over) => {
                let over = seconds(over);
                info!("draining: {sessions} close over {over}");
                Reply::Progress(format!("closing {sessions} over {over}"))
            }
            Err(reason) => Reply::Refused(reason),
        };
        self.act(Action::Reply { caller, reply });
    }

    fn begin_drain(
        &mut self,
        caller: Caller,
        request: DrainRequest,
        now: Now,
    ) -> Result<Duration, String> {
        if !self.is_serving() {
            return Err("the engine does not serve, or is stopping".to_owned());
        }
        if self.upgrade.is_closing_rest() {
            let reason = "an upgrade closes what cannot move; try again when it has ended";
            return Err(reason.to_owned());
        }
        if self.closing.is_some() {
            let reason = "sessions are being closed already; `status` shows how far that has come";
            return Err(reason.to_owned());
        }
        let places = request.places?;
        let default = match self.shape.stop_over.is_zero() {
            true => DEFAULT_OVER,
            false => self.shape.stop_over,
        };
        let over = request.over.unwrap_or(default);
        if over > LONGEST {
            return Err("the time is too long: a year is the most".to_owned());
        }
        if !self.gateway.is_ready() {
            return Err("there is no gateway at the moment".to_owned());
        }
        let max_wait = self.shape.max_wait;
        self.last_drain += 1;
        let number = self.last_drain;
        self.act(Action::Drain {
            number,
            places,
            over,
            max_wait,
        });
        let why = Why::Drain {
            number,
            deadline: now + over + max_wait + GRACE,
            caller,
        };
        self.closing = Some(Closing::new(over, why, now));
        Ok(over)
    }

    /// The gateway has closed the sessions of a drain.
    pub(super) fn drain_ended(&mut self, incarnation: u32, ended: u64, count: u64, now: Now) {
        let is_it = |closing: &mut Closing| matches!(closing.why, Why::Drain { number, .. } if number == ended);
        if !self.is_present(incarnation) {
            return;
        }
        self.rest_is_closed(ended, count, now);
        if let Some(closing) = self.closing.take_if(is_it)
            && let Some(caller) = closing.caller()
        {
            let elapsed = seconds(closing.elapsed(now));
            let text = format!("closed {count} sessions in {elapsed}");
            info!("drained: {text}");
            let reply = Reply::Done(text);
            self.act(Action::Reply { caller, reply });
        }
    }

    /// The gateway has closed all sessions, because the engine stops.
    pub(crate) fn tell_stopped(&self, count: u64, now: Now) {
        if let Some(closing) = &self.closing
            && matches!(closing.why, Why::Stop)
        {
            let elapsed = seconds(closing.elapsed(now));
            info!("stopped: closed {count} sessions in {elapsed}");
        }
    }

    /// The gateway has ended, and every session with it.
    pub(super) fn drain_is_lost(&mut self, reason: &str) {
        let drain = self.closing.take_if(|it| it.caller().is_some());
        self.refuse_drain(drain, reason);
    }

    fn refuse_drain(&mut self, closing: Option<Closing>, reason: &str) {
        if let Some(caller) = closing.and_then(|closing| closing.caller()) {
            let reply = Reply::Refused(reason.to_owned());
            self.act(Action::Reply { caller, reply });
        }
    }

    /// Tells from time to time how many sessions are left, and gives up a drain that has not ended in time.
    pub(super) fn look_at_closing(&mut self, left: Left, now: Now) {
        let Some(closing) = &mut self.closing else {
            return;
        };
        let text = format!("{} of {} sessions are left", left.left, left.of);
        if let Why::Drain { deadline, .. } = closing.why
            && now > deadline
        {
            warn!("draining: {text}, and the gateway does not say why");
            self.drain_is_lost(&format!("the gateway is late: {text}"));
            return;
        }
        if now.saturating_sub(closing.told_at) < closing.pause(now) || left.left == 0 {
            return;
        }
        closing.told_at = now;
        info!("{}: {text}", closing.verb());
        if let Some(caller) = closing.caller() {
            let reply = Reply::Progress(text);
            self.act(Action::Reply { caller, reply });
        }
    }
}
