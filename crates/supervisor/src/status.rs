//! Counters that survive the processes that count.

use std::time::Duration;

use moorline_ipc::Scoreboard;
use serde_json::{Map, Value, json};

use moorline_protocol::control::{
    COUNTED_LISTENERS, LOOP_ROW, Limit, ListenerCounter, LoopCounter, MemoryClass, PROCESS_ROW,
    ProcessCounter, main_row,
};
use moorline_protocol::wire::CloseReason;

/// Counters of a present amount. A dead process has none.
const LOOP_GAUGES: [LoopCounter; 10] = [
    LoopCounter::Sessions,
    LoopCounter::BufferedBytes,
    LoopCounter::Throttled,
    LoopCounter::LastSerial,
    LoopCounter::Beats,
    LoopCounter::Closing,
    LoopCounter::ClosingOf,
    LoopCounter::Full,
    LoopCounter::Requests,
    LoopCounter::Relays,
];
const PROCESS_GAUGES: [ProcessCounter; 3] = [
    ProcessCounter::InProgress,
    ProcessCounter::Sessions,
    ProcessCounter::Beats,
];

/// Sums over all ended processes, and the supervisor's own counts.
#[derive(Debug)]
pub(super) struct Tally {
    gateways: [u64; LOOP_ROW],
    processes: [u64; PROCESS_ROW],
    last_serial: u64,
    pub(super) worker_exits: u64,
    pub(super) reloads_done: u64,
    pub(super) reloads_failed: u64,
    pub(super) upgrades_done: u64,
    pub(super) upgrades_failed: u64,
    /// For how long the last upgrade has read no session.
    pub(super) last_pause: Option<Duration>,
    pub(super) last_reload: Option<LastReload>,
}

/// How the last reload ended.
#[derive(Debug)]
pub(super) struct LastReload {
    pub(super) generation: u32,
    /// Since the engine was started.
    pub(super) at: Duration,
    /// Why it failed, if it did.
    pub(super) failure: Option<String>,
}

impl LastReload {
    pub(super) fn status(&self, now: Duration) -> Value {
        json!({
            "result": if self.failure.is_some() { "failed" } else { "done" },
            "generation": self.generation,
            "ago_s": now.saturating_sub(self.at).as_secs(),
            "reason": self.failure,
        })
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            gateways: [0; LOOP_ROW],
            processes: [0; PROCESS_ROW],
            last_serial: 0,
            worker_exits: 0,
            reloads_done: 0,
            reloads_failed: 0,
            upgrades_done: 0,
            upgrades_failed: 0,
            last_pause: None,
            last_reload: None,
        }
    }
}

impl Tally {
    /// A gateway has ended, and all sessions that it had with it. Returns how many they were.
    pub(super) fn add_gateway(&mut self, board: &Scoreboard, loops: u16) -> u64 {
        let lost = sum(board, loops, LoopCounter::Sessions as usize);
        self.last_serial = self.last_serial.max(last_serial(board, loops));
        for (counter, total) in self.gateways.iter_mut().enumerate() {
            let held = LoopCounter::Held as usize;
            let is_held = (held..held + MemoryClass::ALL.len()).contains(&counter);
            let mut listeners = 0..COUNTED_LISTENERS as u16;
            let is_of_sessions =
                listeners.any(|at| ListenerCounter::Sessions.of(at) == Some(counter));
            if !is_held
                && !is_of_sessions
                && LOOP_GAUGES.iter().all(|&gauge| gauge as usize != counter)
            {
                *total += sum(board, loops, counter);
            }
        }
        if let Some(total) = self.gateways.get_mut(closed(CloseReason::GatewayLost)) {
            *total += lost;
        }
        lost
    }

    /// A worker or task worker has ended.
    pub(super) fn add_process(&mut self, board: &Scoreboard) {
        for (counter, total) in self.processes.iter_mut().enumerate() {
            if PROCESS_GAUGES
                .iter()
                .all(|&gauge| gauge as usize != counter)
            {
                *total += claimed(board, counter);
            }
        }
    }

    /// The highest serial that any gateway has used.
    pub(super) fn last_serial(&self) -> u64 {
        self.last_serial
    }
}

/// All counts at one moment.
pub(super) struct Counts<'a> {
    pub(super) tally: &'a Tally,
    /// The present gateway's, and its loops.
    pub(super) gateway: Option<(&'a Scoreboard, u16)>,
    pub(super) processes: Vec<&'a Scoreboard>,
}

impl Counts<'_> {
    /// The counted part of `status` about the gateway.
    pub(super) fn gateway(&self) -> Map<String, Value> {
        let closed: Map<String, Value> = (1..)
            .map_while(CloseReason::from_u16)
            .map(|reason| {
                (
                    reason.as_str().to_owned(),
                    self.loops(closed(reason)).into(),
                )
            })
            .collect();
        let mut object = Map::new();
        let counters = [
            ("sessions", LoopCounter::Sessions),
            ("accepted", LoopCounter::Accepted),
            ("messages", LoopCounter::Messages),
            ("buffered_bytes", LoopCounter::BufferedBytes),
            ("throttled", LoopCounter::Throttled),
        ];
        for (name, counter) in counters {
            object.insert(name.to_owned(), self.loops(counter as usize).into());
        }
        object.insert("closed".to_owned(), closed.into());
        let requests = self.named(&[
            ("in_progress", LoopCounter::Requests),
            ("answered", LoopCounter::RequestsAnswered),
            ("failed", LoopCounter::RequestsFailed),
            ("refused", LoopCounter::RequestsRefused),
            ("client_left", LoopCounter::RequestsLeft),
        ]);
        object.insert("requests".to_owned(), requests);
        let relays = self.named(&[
            ("open", LoopCounter::Relays),
            ("begun", LoopCounter::RelaysBegun),
            ("failed", LoopCounter::RelaysFailed),
            ("bytes_up", LoopCounter::RelayedUp),
            ("bytes_down", LoopCounter::RelayedDown),
        ]);
        object.insert("relays".to_owned(), relays);
        let limits = Limit::ALL.map(|limit| {
            let reached = self.loops(LoopCounter::Limits as usize + limit as usize);
            (limit.as_str().to_owned(), reached.into())
        });
        object.insert("limits".to_owned(), Map::from_iter(limits).into());
        let held = MemoryClass::ALL.map(|class| {
            let bytes = self.loops(LoopCounter::Held as usize + class as usize);
            (class.as_str().to_owned(), bytes.into())
        });
        object.insert("held".to_owned(), Map::from_iter(held).into());
        object
    }

    /// What is counted of the listener at this place; nothing if it has no counters of its own.
    pub(super) fn listener(&self, place: u16) -> Map<String, Value> {
        let counters = ListenerCounter::ALL.iter();
        let counts = counters.filter_map(|counter| {
            let count = self.loops(counter.of(place)?);
            Some((counter.as_str().to_owned(), count.into()))
        });
        counts.collect()
    }

    /// Whether connections wait at the listener at this place because descriptors or memory have run out.
    pub(super) fn is_paused(&self, place: u16) -> bool {
        let paused = ListenerCounter::Paused.of(place).zip(self.gateway);
        paused.is_some_and(|(counter, (board, loops))| sum(board, loops, counter) > 0)
    }

    /// Sessions that have more queued than `high_watermark` now.
    pub(super) fn full(&self) -> u64 {
        self.loops(LoopCounter::Full as usize)
    }

    /// The descriptors that the gateway has open, and may have.
    pub(super) fn descriptors(&self) -> Value {
        self.gateway.map_or(Value::Null, |(board, loops)| {
            let row = main_row(usize::from(loops));
            json!({
                "open": board.get(row + LoopCounter::Descriptors as usize),
                "limit": board.get(row + LoopCounter::DescriptorsMost as usize),
            })
        })
    }

    pub(super) fn lost(&self) -> Value {
        json!({
            "closed_by_crash": self.loops(LoopCounter::ClosedByCrash as usize),
            "redelivered": self.loops(LoopCounter::Redelivered as usize),
            "dropped": self.loops(LoopCounter::Dropped as usize),
            "reload_forced": self.loops(LoopCounter::ReloadForced as usize),
            "access_log_lines": self.loops(LoopCounter::AccessLinesLost as usize),
            "datagrams_dropped": self.loops(LoopCounter::DatagramsDropped as usize),
        })
    }

    pub(super) fn discarded(&self) -> u64 {
        self.loops(LoopCounter::Discarded as usize)
    }

    /// All handled messages.
    pub(super) fn handled(&self) -> u64 {
        self.all_processes(ProcessCounter::Handled)
    }

    /// How long messages have waited for their handlers: the number of a bucket is the number of
    /// bits that its times have in microseconds.
    pub(super) fn waits(&self) -> Vec<u64> {
        let first = ProcessCounter::Queued as usize;
        let buckets = first..ProcessCounter::Discarded as usize;
        buckets.map(|counter| self.of_processes(counter)).collect()
    }

    /// The same with their sum. `lately`: within which time 99 of 100 have lately found theirs, in microseconds.
    pub(super) fn waited(&self, lately: u64) -> Value {
        let buckets = self.waits();
        let sum = self.all_processes(ProcessCounter::QueuedNs);
        json!({ "buckets": buckets, "sum_ns": sum, "lately_us": lately })
    }

    /// Log lines of gateway, workers and task workers that were dropped.
    pub(super) fn log_lines_dropped(&self) -> u64 {
        self.loops(LoopCounter::LogLinesDropped as usize)
            + self.all_processes(ProcessCounter::LogLinesDropped)
    }

    pub(super) fn errors(&self) -> Value {
        json!({
            "handlers": self.all_processes(ProcessCounter::Failures),
            "returned": self.all_processes(ProcessCounter::Returned),
            "panics": self.all_processes(ProcessCounter::Panics),
            "close_hooks": self.all_processes(ProcessCounter::CloseFailures),
            "worker_exits": self.tally.worker_exits,
            "stalls": self.all_processes(ProcessCounter::Stalls),
        })
    }

    /// What rises while something is wrong. `lines`: lines that the supervisor's own log had no room for.
    pub(super) fn troubles(&self, lines: u64) -> Vec<(String, u64)> {
        let loops = |counter: LoopCounter| self.loops(counter as usize);
        let lines = lines + self.log_lines_dropped() + loops(LoopCounter::AccessLinesLost);
        let failures = self.all_processes(ProcessCounter::Failures);
        let counts = [
            ("worker_exits", self.tally.worker_exits),
            ("handler_failures", failures),
            ("requests_failed", loops(LoopCounter::RequestsFailed)),
            ("relays_failed", loops(LoopCounter::RelaysFailed)),
            ("closed_slow", self.loops(closed(CloseReason::Slow))),
            ("log_lines", lines),
        ];
        let counts = counts.map(|(name, count)| (name.to_owned(), count));
        let limits = Limit::ALL.map(|limit| {
            let reached = self.loops(LoopCounter::Limits as usize + limit as usize);
            (format!("limit_{}", limit.as_str()), reached)
        });
        counts.into_iter().chain(limits).collect()
    }

    /// These counts of all loops, by these names.
    fn named(&self, counters: &[(&str, LoopCounter)]) -> Value {
        let counts = counters.iter();
        let counts = counts.map(|(name, counter)| {
            let count = self.loops(*counter as usize);
            ((*name).to_owned(), count.into())
        });
        Map::from_iter(counts).into()
    }

    fn loops(&self, counter: usize) -> u64 {
        let ended = self.tally.gateways.get(counter).copied().unwrap_or(0);
        ended
            + self
                .gateway
                .map_or(0, |(board, loops)| sum(board, loops, counter))
    }

    fn all_processes(&self, counter: ProcessCounter) -> u64 {
        self.of_processes(counter as usize)
    }

    fn of_processes(&self, counter: usize) -> u64 {
        let ended = self.tally.processes.get(counter).copied().unwrap_or(0);
        ended
            + self
                .processes
                .iter()
                .map(|board| claimed(board, counter))
                .sum::<u64>()
    }
}

/// More than any process counts in its life. Sums of smaller numbers do not overflow.
const MOST_COUNTED: u64 = 1 << 48;

/// The counts of a worker or task worker, if they can be read.
pub(super) fn claimed(board: &Scoreboard, counter: usize) -> u64 {
    let claimed = board.get(counter);
    if claimed < MOST_COUNTED { claimed } else { 0 }
}

fn closed(reason: CloseReason) -> usize {
    LoopCounter::Closed as usize + reason as usize - 1
}

fn sum(board: &Scoreboard, loops: u16, counter: usize) -> u64 {
    rows(loops).map(|row| board.get(row + counter)).sum()
}

/// Sessions and relayed connections that a gateway has now.
pub(super) fn connections(board: &Scoreboard, loops: u16) -> u64 {
    let counters = [LoopCounter::Sessions, LoopCounter::Relays];
    counters
        .iter()
        .map(|it| sum(board, loops, *it as usize))
        .sum()
}

/// How many sessions a stop or a drain has not closed yet, and how many they were.
pub(super) fn closing(board: &Scoreboard, loops: u16) -> (u64, u64) {
    (
        sum(board, loops, LoopCounter::Closing as usize),
        sum(board, loops, LoopCounter::ClosingOf as usize),
    )
}

fn last_serial(board: &Scoreboard, loops: u16) -> u64 {
    rows(loops)
        .map(|row| board.get(row + LoopCounter::LastSerial as usize))
        .max()
        .unwrap_or(0)
}

fn rows(loops: u16) -> impl Iterator<Item = usize> {
    (0..usize::from(loops)).map(|place| place * LOOP_ROW)
}

#[cfg(test)]
mod tests {
    use super::*;
    use moorline_ipc::create_scoreboard;

    #[test]
    fn a_dead_gateways_counters_are_carried_over_and_its_sessions_are_lost() {
        let loops = 2;
        let counters = usize::from(loops) * LOOP_ROW;
        let board = Scoreboard::map(create_scoreboard(counters).unwrap(), counters).unwrap();
        for row in [0, LOOP_ROW] {
            board.set(row + LoopCounter::Sessions as usize, 3);
            board.set(row + LoopCounter::Accepted as usize, 10);
            board.set(row + LoopCounter::LastSerial as usize, 100 + row as u64);
            let limit = LoopCounter::Limits as usize + Limit::Descriptors as usize;
            board.set(row + limit, 2);
            for counter in [ListenerCounter::Sessions, ListenerCounter::Messages] {
                board.set(row + counter.of(3).unwrap(), 4);
            }
        }
        let mut tally = Tally::default();
        assert_eq!(tally.add_gateway(&board, loops), 6);
        let counts = Counts {
            tally: &tally,
            gateway: Some((&board, loops)),
            processes: Vec::new(),
        };
        let gateway = counts.gateway();
        assert_eq!(gateway["accepted"], 40);
        assert_eq!(gateway["sessions"], 6);
        assert_eq!(gateway["closed"]["gateway_lost"], 6);
        assert_eq!(gateway["limits"]["descriptors"], 8);
        assert_eq!(tally.last_serial(), 100 + LOOP_ROW as u64);
        // The dead one has no sessions left; the present one is the same board.
        let listener = counts.listener(3);
        assert_eq!(
            (&listener["sessions"], &listener["messages"]),
            (&json!(8), &json!(16))
        );
        assert!(counts.listener(COUNTED_LISTENERS as u16).is_empty());
    }
}
