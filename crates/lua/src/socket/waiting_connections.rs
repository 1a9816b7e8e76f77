//! Connections of the embedding program that wait for a script to listen on.

use std::collections::VecDeque;

/// Those that a listening socket has accepted, and its owner does not know yet.
#[derive(Debug, Default)]
pub(crate) struct WaitingConnections {
    queue: VecDeque<WaitingConnection>,
    /// Those among them that have ended.
    ended: usize,
    /// There was no room for one.
    was_full: bool,
}

#[derive(Debug)]
struct WaitingConnection {
    socket: u32,
    peer: String,
    has_ended: bool,
}

/// What becomes of a connection that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitingEnd {
    /// The owner knows it, or will: what it has sent can be read.
    Kept,
    /// It waits no more, and the owner will not know it.
    Dropped {
        /// None was dropped since the owner last took one.
        is_first: bool,
    },
}

/// No more wait that have ended. Those that live are bounded by the program, as its sessions.
const MOST_ENDED: usize = 1024;

impl WaitingConnections {
    pub(crate) fn add(&mut self, socket: u32, peer: String) {
        self.queue.push_back(WaitingConnection {
            socket,
            peer,
            has_ended: false,
        });
    }

    /// The one that has waited longest, and its peer.
    pub(crate) fn next(&mut self) -> Option<(u32, String)> {
        let next = self.queue.pop_front()?;
        self.ended -= usize::from(next.has_ended);
        self.was_full = false;
        Some((next.socket, next.peer))
    }

    pub(crate) fn end(&mut self, socket: u32) -> WaitingEnd {
        // Short connections are among the last.
        let Some(at) = self.queue.iter().rposition(|it| it.socket == socket) else {
            return WaitingEnd::Kept;
        };
        if self.ended >= MOST_ENDED {
            self.queue.remove(at);
            let is_first = !std::mem::replace(&mut self.was_full, true);
            return WaitingEnd::Dropped { is_first };
        }
        if !std::mem::replace(&mut self.queue[at].has_ended, true) {
            self.ended += 1;
        }
        WaitingEnd::Kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_end_before_a_script_is_told_are_bounded() {
        let mut waiting = WaitingConnections::default();
        let most = u32::try_from(MOST_ENDED).expect("it is small");
        waiting.add(0, String::new());
        for socket in 1..=most {
            waiting.add(socket, String::new());
            assert_eq!(waiting.end(socket), WaitingEnd::Kept);
        }
        for (socket, is_first) in [(most + 1, true), (most + 2, false)] {
            waiting.add(socket, String::new());
            assert_eq!(waiting.end(socket), WaitingEnd::Dropped { is_first });
        }
        // One that lives, and one that has ended.
        assert_eq!([(); 2].map(|()| waiting.next().expect("one").0), [0, 1]);
        assert_eq!(waiting.end(0), WaitingEnd::Kept);
        waiting.add(most + 3, String::new());
        assert_eq!(waiting.end(most + 3), WaitingEnd::Kept);
        let left: Vec<_> = std::iter::from_fn(|| waiting.next()).collect();
        assert_eq!(left.len(), MOST_ENDED);
        assert_eq!(waiting.ended, 0);
    }
}
