//! A loop that stands still: it waits for its orders, and looks at no socket and no ring.

use std::sync::mpsc::{Receiver, RecvTimeoutError};

use moorline_protocol::control::{BEAT, LoopCounter};

use crate::commands::{Command, Report};
use crate::event_loop::Loop;
use crate::stream::Stream;

impl Loop {
    /// It is to stand still.
    pub(crate) fn begin_to_stand(&mut self) {
        self.stands = true;
        self.tools.processes.publish();
        self.tools.cx.report(Report::Stands);
    }

    /// Stands still until it is to go on. What else it is told meanwhile is done then.
    pub(crate) fn stand(&mut self, commands: &Receiver<Command>) {
        let mut others = Vec::new();
        while self.stands {
            match commands.recv_timeout(BEAT) {
                Ok(Command::Settle) => {
                    self.tools.cx.clock.tick();
                    let report = Report::Settled(self.settle(), self.obstacles());
                    self.tools.cx.report(report);
                }
                Ok(Command::HandOver(stream)) => {
                    let sent = match others.iter().all(is_found_out) {
                        true => self.send_through(&stream),
                        false => Err("it was told something meanwhile".to_owned()),
                    };
                    self.tools.cx.report(Report::HandedOver(sent));
                }
                Ok(Command::GoOn) => self.stands = false,
                // Other loops have sent it before they stood still.
                Ok(
                    order @ (Command::EventDone { .. }
                    | Command::Accepted { .. }
                    | Command::Refused(_)),
                ) => self.obey(order),
                Ok(other) => others.push(other),
                Err(RecvTimeoutError::Timeout) => self.tools.cx.count(LoopCounter::Beats, 1),
                // The process ends.
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        self.tools.cx.clock.tick();
        self.tools.cx.report(Report::GoesOn);
        for other in others {
            self.obey(other);
        }
    }

    fn send_through(&mut self, stream: &Stream) -> Result<(), String> {
        let sent = self.keep_all().and_then(|kept| {
            let descriptors = &kept.descriptors;
            stream.send(&kept.bytes, descriptors)
        });
        sent.map_err(|error| error.to_string())
    }
}

/// Whether another gateway finds out by itself what this says.
fn is_found_out(command: &Command) -> bool {
    matches!(
        command,
        Command::LeavePeer { .. } | Command::WatchHistories | Command::Show(_)
    )
}
