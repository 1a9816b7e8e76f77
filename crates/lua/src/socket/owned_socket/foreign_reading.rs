//! Reading a socket that is a connection of the embedding program.

use std::task::Poll;

use super::{OwnedSocket, ReadOutcome, Received, SocketStep};
use crate::socket::event::{SocketEvent, SocketMode};

impl OwnedSocket {
    /// As `poll_read`, for bytes that are in memory already.
    pub(super) fn poll_foreign(&mut self) -> Poll<Option<SocketStep>> {
        let Some(io) = &self.shared.foreign else {
            return Poll::Pending;
        };
        self.leave_moved();
        let news = io.news();
        if let Some(kibibytes) = news.warning {
            let warning = SocketEvent::Warning(kibibytes);
            return Poll::Ready(Some(SocketStep::Event(warning)));
        }
        if self.is_input_over {
            return Poll::Pending;
        }
        if self.mode == SocketMode::Raw {
            if !self.is_paused && !self.buffer.is_empty() {
                let data = SocketEvent::Data(self.buffer.take_all());
                // Its handler may pause it again: then nothing else tells the program.
                self.tell_progress();
                return Poll::Ready(Some(SocketStep::Event(data)));
            }
        } else if let Some(reader) = &self.reader
            && let Some(data) = self.buffer.take(&reader.need)
        {
            self.tell_progress();
            return Poll::Ready(self.answer(ReadOutcome::Data(Received::Own(data))));
        }
        // What came before the end is for the handler, once it goes on.
        if news.is_over && (self.mode == SocketMode::Buffered || self.buffer.is_empty()) {
            self.tell_closed();
            return Poll::Ready(None);
        }
        self.check_limit();
        if !self.steps.is_empty() || self.is_ended {
            return Poll::Ready(None);
        }
        self.note_awaited();
        Poll::Pending
    }

    /// What no script has read of a connection that has moved is the other process's to read.
    pub(super) fn leave_moved(&self) {
        if let Some(io) = &self.shared.foreign
            && !self.is_input_over
            && !(io.functions.is_here)(self.shared.id)
        {
            io.leave();
            // A reader that begins now learns of the end at the next look.
            self.waker.wake_by_ref();
        }
    }

    /// The program learns whether its script waits for more.
    pub(super) fn note_awaited(&self) {
        let Some(io) = &self.shared.foreign else {
            return;
        };
        let is_awaited = match self.mode {
            SocketMode::Raw => !self.is_paused,
            SocketMode::Buffered => self.reader.is_some(),
        };
        io.set_awaited(is_awaited);
        if is_awaited {
            (io.functions.progress)(self.shared.id);
        }
    }

    /// The program learns that its script has read something.
    pub(super) fn tell_progress(&self) {
        if let Some(io) = &self.shared.foreign {
            (io.functions.progress)(self.shared.id);
        }
    }
}
