//! Reading a socket that is a connection of the embedding program.

use std::task::Poll;

use super::{OwnedSocket, ReadOutcome, Received, SocketStep};
use crate::socket::event::{SocketEvent, SocketMode};

impl OwnedSocket {
    /// As `poll_read`: what has come is there already.
    pub(super) fn poll_foreign(&mut self) -> Poll<Option<SocketStep>> {
        let Some(io) = &self.shared.foreign else {
            return Poll::Pending;
        };
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
                return Poll::Ready(Some(SocketStep::Event(data)));
            }
        } else if let Some(reader) = &self.reader
            && let Some(data) = self.buffer.take(&reader.need)
        {
            self.tell_progress();
            return Poll::Ready(self.answer(ReadOutcome::Data(Received::Own(data))));
        }
        if news.is_over {
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
