//! Closing sessions a few at a time: all of them when the engine stops, or those that are there when it is asked to drain.

use std::time::Duration;

use super::Report;
use super::event_loop::Loop;
use super::pace::Pace;
use super::session::{Phase, Session};
use super::table::Key;
use crate::control::LoopCounter;
use crate::wire::CloseReason;

/// Sessions that one turn closes at the most: with very many and little time the others must be served meanwhile.
const CLOSED_PER_TURN: usize = 256;
/// How often a drain that has asked all its sessions to close looks whether they have.
const LOOK_MS: u64 = 100;

/// Which sessions are to close, and how fast.
#[derive(Debug, Clone)]
pub(super) struct Order {
    /// Names it; the next one has a higher number.
    pub(super) number: u64,
    /// The time over which they are spread.
    pub(super) over: Duration,
    /// How long what is in hand then may take to end.
    pub(super) max_wait: Duration,
    /// Those of the listeners in these places; without, all.
    pub(super) places: Option<Vec<u16>>,
    pub(super) seed: u64,
}

impl Order {
    /// The part of one loop: the loops close sessions at moments of their own.
    pub(super) fn of_loop(&self, index: usize) -> Box<Self> {
        let seed = self.seed.wrapping_add(index as u64);
        Box::new(Self {
            seed,
            ..self.clone()
        })
    }
}

/// Sessions that close one after the other.
#[derive(Debug)]
pub(super) struct Drain {
    number: u64,
    pace: Pace,
    sessions: Vec<(Key, u64)>,
    /// How many of them were told to close.
    told: usize,
    /// When those that still have something in hand are cut off, in the loop's milliseconds.
    end: u64,
}

impl Loop {
    /// Begins to close sessions. One that closes others already goes on with these instead.
    pub(super) fn drain(&mut self, order: &Order) {
        let is_meant = |session: &Session| {
            let places = order.places.as_ref();
            !matches!(session.phase, Phase::Ended(_) | Phase::Lingering)
                && places.is_none_or(|places| places.contains(&session.listener))
        };
        let meant = self.table.iter().filter(|(_, session)| is_meant(session));
        let mut sessions: Vec<_> = meant.map(|(key, session)| (key, session.id)).collect();
        let pace = Pace::new(self.clock.ms, order.over, order.seed);
        pace.shuffle(&mut sessions);
        self.counters
            .set(LoopCounter::ClosingOf as usize, sessions.len() as u64);
        self.drain = Some(Drain {
            number: order.number,
            pace,
            sessions,
            told: 0,
            end: self.clock.ms + (order.over + order.max_wait).as_millis() as u64,
        });
        self.go_on_draining(order.number);
    }

    /// Closes those whose time has come.
    pub(super) fn go_on_draining(&mut self, number: u64) {
        // A timer may be from one that another has replaced.
        let Some(mut drain) = self.drain.take_if(|drain| drain.number == number) else {
            return;
        };
        let (now, count) = (self.clock.ms, drain.sessions.len());
        let mut again = None;
        for closed in 0.. {
            let Some(&(key, id)) = drain.sessions.get(drain.told) else {
                break;
            };
            let due = drain.pace.due(drain.told, count);
            if due > now || closed == CLOSED_PER_TURN {
                again = Some(due);
                break;
            }
            drain.told += 1;
            if self.table.at(key).is_some_and(|session| session.id == id) {
                self.end(key, CloseReason::Stopped);
                self.sweep.push_back((key, id));
            }
        }
        if now >= drain.end {
            self.cut_off(&drain);
        }
        if again.is_none() {
            // All were told. Those that are left end what is in hand.
            drain.sessions.retain(|(key, id)| {
                let session = self.table.at(*key).filter(|session| session.id == *id);
                session.is_some_and(|session| {
                    !matches!(session.phase, Phase::Ended(_) | Phase::Lingering)
                })
            });
            drain.told = drain.sessions.len();
        }
        let left = match again {
            Some(_) => count - drain.told,
            None => drain.told,
        };
        self.counters
            .set(LoopCounter::Closing as usize, left as u64);
        if left == 0 {
            // The main thread lives as long as the process.
            let _ = self.reports.send(Report::Drained(number));
            return;
        }
        let again = again.unwrap_or(now + LOOK_MS).max(now + 1);
        self.timers.drain_again(again, number);
        self.drain = Some(drain);
    }

    /// Its time is over: what is still open closes.
    fn cut_off(&mut self, drain: &Drain) {
        for (key, id) in &drain.sessions {
            if self.table.at(*key).is_some_and(|session| session.id == *id) {
                self.close_unfinished(*key);
            }
        }
    }
}
