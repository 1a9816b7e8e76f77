//! Where an owned socket has what it has received.

use std::mem;
use std::rc::Rc;
use std::sync::Arc;

use super::foreign_io::ForeignIo;
use super::receive_buffer::{ReadNeed, ReceiveBuffer};
use super::shared_socket::SharedSocket;
use crate::sys::StateMemory;

/// What was received and not read.
pub(crate) enum SocketInput {
    /// With the owner, who passes it on with the socket.
    Own(ReceiveBuffer),
    /// With the socket: the program that it belongs to looks at it, too.
    Foreign {
        shared: Arc<SharedSocket>,
        /// What counts it, while this is its owner.
        memory: Rc<StateMemory>,
        counted: usize,
    },
}

impl SocketInput {
    pub(crate) fn of(shared: &Arc<SharedSocket>, memory: Rc<StateMemory>) -> Self {
        match &shared.foreign {
            Some(_) => Self::Foreign {
                shared: shared.clone(),
                memory,
                counted: 0,
            },
            None => Self::Own(ReceiveBuffer::of_socket(memory)),
        }
    }

    fn on<T>(
        &mut self,
        own: impl FnOnce(&mut ReceiveBuffer) -> T,
        foreign: impl FnOnce(&ForeignIo) -> T,
    ) -> T {
        match self {
            Self::Own(buffer) => own(buffer),
            Self::Foreign {
                shared,
                memory,
                counted,
            } => match &shared.foreign {
                Some(io) => {
                    let done = foreign(io);
                    let now = io.length();
                    memory.count_received(mem::replace(counted, now), now);
                    done
                }
                // `of` has seen it: it stays as long as the socket.
                None => own(&mut ReceiveBuffer::default()),
            },
        }
    }

    /// Puts bytes behind the others. A foreign one gets them from its program only.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.on(|buffer| buffer.push(bytes), |_| ());
    }

    pub(crate) fn len(&mut self) -> usize {
        self.on(|buffer| buffer.len(), ForeignIo::length)
    }

    pub(crate) fn is_empty(&mut self) -> bool {
        self.len() == 0
    }

    /// What a reader wants, if it is there.
    pub(crate) fn take(&mut self, need: &ReadNeed) -> Option<Vec<u8>> {
        self.on(|buffer| buffer.take(need), |io| io.take(need))
    }

    pub(crate) fn take_all(&mut self) -> Vec<u8> {
        self.on(ReceiveBuffer::take_all, ForeignIo::take_all)
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.on(ReceiveBuffer::clear, |io| drop(io.take_all()));
    }

    /// What the next owner is to be given: a foreign one has it already.
    pub(crate) fn leave(&mut self) -> Vec<u8> {
        self.on(ReceiveBuffer::take_all, |_| Vec::new())
    }

    /// Another separator may be looked for.
    pub(crate) fn scan_again(&mut self) {
        self.on(ReceiveBuffer::scan_again, ForeignIo::scan_again);
    }
}

impl Drop for SocketInput {
    fn drop(&mut self) {
        if let Self::Foreign {
            memory, counted, ..
        } = self
        {
            memory.count_received(*counted, 0);
        }
    }
}
