//! Handlers that are noted with their times, so that traces can be made of them.

use std::cell::Cell;

use crate::app::Request;
use crate::config::{Config, HelperTask};
use crate::flight::{FlightKind, FlightLog, now_ns};
use crate::stalls::Hook;

/// Chooses handlers by chance, or since their request is part of a trace that its client has chosen.
pub(crate) struct Sampler {
    flight: FlightLog,
    /// One of this many; 0: none, also none of those that clients choose.
    one_in: u32,
    second: Cell<u64>,
    /// How many were chosen in that second.
    count: Cell<u32>,
}

/// When a handler that was chosen began; 0: it was not chosen. Small, since each message has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chosen(u64);

/// The same for a request, with the span of its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChosenRequest {
    chosen: Chosen,
    above: Option<Above>,
}

/// The span of the client that a request is made in: `traceparent` of W3C Trace Context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Above {
    trace: [u64; 2],
    span: u64,
    is_chosen: bool,
}

/// Handlers of one second. Clients choose, too, and must not push out all other events.
const MOST_CHOSEN: u32 = 100;

const NOT_CHOSEN: Chosen = Chosen(0);

/// How it went, as the flight recorder counts it.
const DONE: u8 = 1;
const FAILED: u8 = 2;

impl Sampler {
    pub(crate) fn new(flight: FlightLog, config: &Config) -> Self {
        let otlp = config.helpers.iter().find_map(|helper| match &helper.task {
            HelperTask::Admin(admin) => admin.otlp.as_deref(),
            HelperTask::Command(_) => None,
        });
        Self {
            flight,
            one_in: otlp.map_or(0, |otlp| otlp.sample_one_in),
            second: Cell::new(0),
            count: Cell::new(0),
        }
    }

    /// A handler begins.
    #[inline]
    pub(crate) fn begin(&self) -> Chosen {
        match self.one_in {
            0 => NOT_CHOSEN,
            one_in => self.by_chance(one_in),
        }
    }

    /// The handler of a request begins.
    pub(crate) fn begin_request(&self, request: &Request) -> ChosenRequest {
        let above = match self.one_in {
            0 => None,
            _ => request.header("traceparent").and_then(Above::parse),
        };
        let chosen = match above {
            Some(above) if above.is_chosen => self.choose(),
            // Its client has decided.
            Some(_) => NOT_CHOSEN,
            None => self.begin(),
        };
        ChosenRequest { chosen, above }
    }

    fn by_chance(&self, one_in: u32) -> Chosen {
        match fastrand::u32(..one_in) {
            0 => self.choose(),
            _ => NOT_CHOSEN,
        }
    }

    fn choose(&self) -> Chosen {
        let now = now_ns();
        let second = now / 1_000_000_000;
        if self.second.replace(second) != second {
            self.count.set(0);
        }
        if self.count.get() >= MOST_CHOSEN {
            return NOT_CHOSEN;
        }
        self.count.set(self.count.get() + 1);
        Chosen(now)
    }

    /// The handler of a message has ended.
    #[inline]
    pub(crate) fn end(&self, chosen: Chosen, session: u64, has_failed: bool) {
        if chosen != NOT_CHOSEN {
            self.note(chosen, Hook::Message, session, has_failed);
        }
    }

    /// The handler of a request has ended. `of`: the session that it asks for, or its own number.
    pub(crate) fn end_request(
        &self,
        request: ChosenRequest,
        hook: Hook,
        of: u64,
        has_failed: bool,
    ) {
        let ChosenRequest { chosen, above } = request;
        if chosen == NOT_CHOSEN {
            return;
        }
        // The events of one handler have nearly one time, and follow each other.
        if let Some(Above { trace, span, .. }) = above {
            self.flight.note(FlightKind::Trace, 0, trace[0], trace[1]);
            self.flight.note(FlightKind::TraceParent, 0, 0, span);
        }
        self.note(chosen, hook, of, has_failed);
    }

    #[cold]
    fn note(&self, Chosen(begun): Chosen, hook: Hook, of: u64, has_failed: bool) {
        let how = if has_failed { FAILED } else { DONE };
        let detail = u16::from_be_bytes([hook as u8, how]);
        let took = now_ns().saturating_sub(begun) / 1000;
        self.flight.note(FlightKind::Handler, detail, of, took);
    }
}

impl Above {
    /// Reads `traceparent`. Of later versions than 00 the beginning is known.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_known = match version {
            "00" => parts.next().is_none(),
            "ff" => false,
            other => hex(other, 2).is_some(),
        };
        let (high, low) = trace.split_at_checked(16)?;
        let above = Self {
            trace: [hex(high, 16)?, hex(low, 16)?],
            span: hex(span, 16)?,
            is_chosen: hex(flags, 2)? & 1 == 1,
        };
        (is_known && above.trace != [0, 0] && above.span != 0).then_some(above)
    }
}

/// A number of this many digits, in lower case.
fn hex(text: &str, digits: usize) -> Option<u64> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let fits = text.len() == digits && text.bytes().all(is_digit);
    fits.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use moorline_protocol::flight::HOOKS;

    use super::*;

    #[test]
    fn a_trace_parent_is_read_as_the_standard_says() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let above = Above {
            trace: [0x0af7_6519_16cd_43dd, 0x8448_eb21_1c80_319c],
            span: 0xb7ad_6b71_6920_3331,
            is_chosen: true,
        };
        assert_eq!(Above::parse(text), Some(above));
        let later = text.replacen("00", "cc", 1) + "-what-comes-later";
        assert_eq!(Above::parse(&later), Some(above));
        let not_chosen = Above::parse(&text.replace("-01", "-00"));
        assert!(not_chosen.is_some_and(|it| !it.is_chosen));
        for wrong in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-+7ad6b7169203331-01",
            "00-0af7651916cd43d\u{e9}8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(Above::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn hooks_have_the_names_that_the_flight_recorder_knows() {
        for (place, name) in HOOKS.iter().enumerate() {
            assert_eq!(Hook::ALL[place] as usize, place);
            assert_eq!(Hook::ALL[place].as_str(), *name);
        }
    }
}
