//! The sockets of the process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;

use super::shared_socket::SharedSocket;
use crate::foreign::FIRST_FOREIGN_SOCKET;

/// One for the process.
#[derive(Debug, Default)]
pub(crate) struct SocketRegistry(Mutex<NumberedSockets>);

#[derive(Debug, Default)]
struct NumberedSockets {
    sockets: FxHashMap<u32, Arc<SharedSocket>>,
    last: u32,
}

/// Scripts send numbers of sockets in 4 bytes, with a sign.
const LAST_NUMBER: u32 = FIRST_FOREIGN_SOCKET - 1;

impl SocketRegistry {
    /// A number that no other socket has. It comes back after a thousand million others.
    pub(crate) fn number(&self) -> u32 {
        let mut all = self.all();
        loop {
            all.last = all.last % LAST_NUMBER + 1;
            if !all.sockets.contains_key(&all.last) {
                return all.last;
            }
        }
    }

    pub(crate) fn add(&self, socket: Arc<SharedSocket>) {
        self.all().sockets.insert(socket.id, socket);
    }

    pub(crate) fn find(&self, id: u32) -> Option<Arc<SharedSocket>> {
        self.all().sockets.get(&id).cloned()
    }

    pub(crate) fn remove(&self, id: u32) {
        self.all().sockets.remove(&id);
    }

    /// All of them, by their numbers.
    pub(crate) fn list(&self) -> Vec<Arc<SharedSocket>> {
        let mut list: Vec<_> = self.all().sockets.values().cloned().collect();
        list.sort_unstable_by_key(|socket| socket.id);
        list
    }

    fn all(&self) -> MutexGuard<'_, NumberedSockets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
