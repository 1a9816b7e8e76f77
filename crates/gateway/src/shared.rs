//! The state that the loops of a gateway share.

pub(crate) mod admission;
pub(crate) mod http_memory;
pub(crate) mod http_stopping;
pub(crate) mod hub;
pub(crate) mod limits;
pub(crate) mod places;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use rustc_hash::FxHashMap;
use tokio::sync::Semaphore;

use crate::access_log::AccessLogs;
use crate::chosen_certificates::ChosenCertificates;
use crate::clock::Clock;
use crate::ids::ListenerId;
use crate::ids::MAX_SLOTS;
use crate::shared::admission::{Admission, Counted};
use crate::shared::http_memory::HttpMemory;
use crate::shared::http_stopping::Stopping;
use crate::shared::hub::Hub;
use crate::shared::limits::ConnectionLimits;
use crate::shared::places::Places;
use crate::upstreams::Upstreams;
use moorline_config::Config;
use moorline_process::open_files;
use moorline_protocol::wire::Peer;

/// The most files that are checked at the same time.
const FILE_LOOKS: usize = 64;

/// The state that the threads share. Only counters; everything else goes by message.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Sessions of each loop, for choosing the least loaded.
    pub(crate) loads: Vec<AtomicUsize>,
    /// The admission of each listener.
    pub(crate) admissions: Places<Admission>,
    /// Bytes that each loop holds, as of its last turn.
    pub(crate) held: Vec<AtomicU64>,
    /// Once addresses are too many: the bytes of the largest session of each loop.
    pub(crate) largest: Vec<AtomicU64>,
    /// The session that may be read although the memory limit is near; zero: none.
    pub(crate) right_of_way: AtomicU64,
    /// The bytes that the main thread holds for HTTP.
    pub(crate) http_memory: Arc<HttpMemory>,
    /// What is sent to groups once for all loops.
    pub(crate) hub: Hub,
    /// Permits to check files that workers pass: a check may hang, and then holds a thread.
    pub(crate) file_looks: Arc<Semaphore>,
    /// Descriptors that are kept free of connections and files.
    reserve: AtomicU64,
    /// The loads of all loops together for each worker slot.
    pub(crate) slots: Vec<SlotLoad>,
    /// The number of the last plain request.
    last_request: AtomicU64,
    /// The peers of relays.
    pub(crate) upstreams: Upstreams,
    /// The limits of connections by a key.
    pub(crate) limits: ConnectionLimits,
    /// The certificates for clients that connections choose.
    pub(crate) certificates: Arc<ChosenCertificates>,
    /// The logs where connections leave a line.
    pub(crate) access_logs: AccessLogs,
    /// The HTTP connections, which the main thread has.
    pub(crate) http: Stopping,
    /// For each worker slot: the loop (from 1) whose suspect message is out there, or 0.
    pub(crate) suspects: Vec<AtomicU32>,
}

/// The load of one worker slot.
#[derive(Debug, Default)]
pub(crate) struct SlotLoad {
    /// Sessions that belong to it, counted at once: a burst of connections reaches all loops in the same moment.
    pub(crate) sessions: AtomicUsize,
    /// Messages in progress, as of each loop's last turn.
    pub(crate) in_hand: AtomicUsize,
}

impl Shared {
    /// For this many loops.
    pub(crate) fn new(config: &Config, loops: usize, reserve: u64) -> Self {
        let numbers = || (0..loops).map(|_| AtomicU64::new(0)).collect();
        let shared = Self {
            loads: (0..loops).map(|_| AtomicUsize::new(0)).collect(),
            admissions: Places::new(config.listeners.len()),
            held: numbers(),
            largest: numbers(),
            right_of_way: AtomicU64::new(0),
            http_memory: Arc::default(),
            hub: Hub::new(config, loops),
            file_looks: Arc::new(Semaphore::new(FILE_LOOKS)),
            reserve: AtomicU64::new(reserve),
            slots: (0..MAX_SLOTS).map(|_| SlotLoad::default()).collect(),
            last_request: AtomicU64::new(0),
            upstreams: Upstreams::default(),
            limits: ConnectionLimits::default(),
            certificates: Arc::new(ChosenCertificates::of_listeners()),
            access_logs: AccessLogs::default(),
            http: Stopping::default(),
            suspects: (0..MAX_SLOTS).map(|_| AtomicU32::new(0)).collect(),
        };
        shared.prepare(config, reserve);
        shared.change(config, 0);
        shared
    }

    /// Prepares for this configuration. Returns the places whose connections must be counted by their addresses, and
    /// have not been.
    pub(crate) fn prepare(&self, config: &Config, reserve: u64) -> Vec<ListenerId> {
        self.keep_free(reserve);
        self.admissions.grow(config.listeners.len());
        self.upstreams.change(config, Clock::shared_now());
        self.access_logs.prepare(config);
        let hosts = hosts(config);
        for (place, listener) in config.listeners.iter().enumerate() {
            if !listener.is_retired {
                let host = listener.host.as_deref().and_then(|it| hosts.get(it));
                self.admissions[place].set_host(host.copied());
            }
        }
        let listeners = (0..).map(ListenerId).zip(&config.listeners);
        listeners
            .filter(|(id, listener)| self.admissions[id.index()].prepare(listener))
            .map(|(id, _)| id)
            .collect()
    }

    /// Admits connections by this configuration from now on. The loop that accepts calls it.
    pub(crate) fn change(&self, config: &Config, now: u64) {
        self.http_memory.change_limit(config.engine.memory_limit);
        self.hub.change(config, now);
        self.limits.change(config);
        self.access_logs.change(config);
        for (place, listener) in config.listeners.iter().enumerate() {
            self.admissions[place].change(listener);
        }
    }

    /// Bytes that the loops hold, as of their last turns.
    pub(crate) fn held_by_loops(&self) -> u64 {
        self.held.iter().map(|it| it.load(Ordering::Relaxed)).sum()
    }

    /// The number of a new request: no other has it.
    pub(crate) fn next_request(&self) -> u64 {
        self.last_request.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The number of the last plain request.
    pub(crate) fn last_request(&self) -> u64 {
        self.last_request.load(Ordering::Relaxed)
    }

    /// The next plain request gets a higher number than this.
    pub(crate) fn resume_requests(&self, last: u64) {
        self.last_request.store(last, Ordering::Relaxed);
    }

    /// Keeps this many descriptors free of connections and files from now on.
    pub(crate) fn keep_free(&self, reserve: u64) {
        self.reserve.store(reserve, Ordering::Relaxed);
    }

    /// Descriptors up to this number may be connections and files now: the limit may be changed from outside.
    pub(crate) fn descriptors(&self) -> u64 {
        open_files::allowed().saturating_sub(self.reserve.load(Ordering::Relaxed))
    }

    /// Connections of all listeners. Those of a server are among those of the listener that has its socket.
    pub(crate) fn connections(&self) -> u64 {
        let doors = self.admissions.iter().filter(|it| it.host().is_none());
        doors.map(Admission::connections).sum()
    }

    /// A connection of this listener has ended, and its socket is closed.
    pub(crate) fn release(&self, listener: ListenerId, peer: &Peer, counted: Counted) {
        self.end(listener, peer, counted);
        self.let_go(listener, counted);
    }

    /// A connection of this listener has ended. Its socket is not closed.
    pub(crate) fn end(&self, listener: ListenerId, peer: &Peer, counted: Counted) {
        self.door(listener).end(peer, counted);
    }

    /// The socket of an ended connection of this listener is closed.
    pub(crate) fn let_go(&self, listener: ListenerId, counted: Counted) {
        let door = self.door(listener);
        door.release(counted);
        let own = &self.admissions[listener.index()];
        if !std::ptr::eq(door, own) {
            own.release(Counted::ADMITTED);
        }
    }

    /// The admission that counts the connections of this listener: its own, or that of the listener with its socket.
    pub(crate) fn door(&self, listener: ListenerId) -> &Admission {
        let own = &self.admissions[listener.index()];
        let host = own.host().and_then(|host| self.admissions.get(host));
        host.unwrap_or(own)
    }

    /// The loop with the fewest sessions, which gets the next one.
    pub(crate) fn least_loaded(&self) -> usize {
        let least = (0..self.loads.len())
            .min_by_key(|at| self.loads[*at].load(Ordering::Relaxed))
            .unwrap_or_default();
        // Counted here already: a burst arrives faster than the loops report.
        self.loads[least].fetch_add(1, Ordering::Relaxed);
        least
    }
}

/// The places of the listeners that may have servers behind them, by name.
fn hosts(config: &Config) -> FxHashMap<&str, usize> {
    let listeners = config.listeners.iter().enumerate();
    let hosts = listeners.filter(|(_, it)| it.host.is_none() && !it.is_retired);
    hosts.map(|(place, it)| (&*it.name, place)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_goes_on_with_a_server_counts_once() {
        let text = "[[listen]]\naddress = \"tcp://127.0.0.1:0\"\nname = \"a\"\nreturn = \"\"\n\
                    [[listen.server]]\nnames = [\"b\"]\nreturn = \"\"\n";
        let loaded = moorline_config::load_text(text, std::path::Path::new("/a.toml"));
        let shared = Shared::new(&loaded.expect("it is right").config, 1, 0);
        let counted = shared.admissions[0].admit(&Peer::Unix, Counted::ADMITTED);
        shared.admissions[1].join();
        assert_eq!(shared.connections(), 1);
        let counted = counted.expect("there is room");
        shared.release(ListenerId(1), &Peer::Unix, counted);
        assert_eq!(shared.connections(), 0);
    }
}
