//! The rates of a relay: set as it begins, and asked before its bytes pass.

use crate::ids::Side;
use crate::pace::{PacedWay, RateAllowance, RatePace};
use crate::relay::Relay;
use crate::timers::Alarm;
use crate::tools::Tools;
use moorline_config::{BadRate, parse_rate};

/// Sets the rates of a relay, if its listener has some. A text that is no rate is told, and sets no limit.
pub(crate) fn set_rates(relay: &mut Relay, tools: &mut Tools) {
    let Tools { cx, refusals, .. } = tools;
    let settings = cx.listener(relay.listener);
    let Some(rates) = &settings.stream.rate else {
        return;
    };
    let mut pace = RatePace::default();
    for (side, text) in [(Side::Client, &rates.up), (Side::Upstream, &rates.down)] {
        let Some(text) = text else { continue };
        let text = relay.facts(None, cx).filled(text);
        let text = String::from_utf8_lossy(text.as_bytes());
        match parse_rate(&text) {
            Ok(0) => {}
            Ok(rate) => pace.ways[side as usize] = Some(PacedWay::new(rate)),
            Err(BadRate) => {
                if let Some(unlogged) = refusals.tells(relay.listener, cx.clock.ms) {
                    tracing::warn!(
                        listener = %settings.name, client = %relay.client, unlogged,
                        "a `rate` is {text:?}, which is none: there is no limit"
                    );
                }
            }
        }
    }
    if pace.ways.iter().any(Option::is_some) {
        relay.notes.get_or_insert_default().pace = Some(pace);
    }
}

/// How many bytes of what this side sends may pass now. `None`: none, and an alarm is set.
pub(crate) fn allowance(relay: &mut Relay, from: Side, tools: &mut Tools) -> Option<usize> {
    let pace = relay.notes.as_mut().and_then(|notes| notes.pace.as_mut());
    let Some(way) = pace.and_then(|pace| pace.ways[from as usize].as_mut()) else {
        return Some(usize::MAX);
    };
    match way.allow(tools.cx.clock.ms) {
        RateAllowance::Bytes(bytes) => Some(usize::try_from(bytes).unwrap_or(usize::MAX)),
        RateAllowance::Later(at) => {
            tools.agenda.timers.set(at, Alarm::Pace(relay.name));
            None
        }
        RateAllowance::Waits => None,
    }
}
