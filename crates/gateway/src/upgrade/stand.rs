//! A loop that stands still: it waits for its orders, and looks at no socket and no ring.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use moorline_protocol::control::{BEAT, LoopCounter};

use crate::commands::{Command, Report};
use crate::event_loop::Loop;
use crate::poller::Poller;
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
                    let is_quiet = self.settle();
                    let report = Report::Settled(is_quiet, self.obstacles(), self.weight());
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

    /// Takes what came while it stood still, before a timer runs: a session that spoke in time is not late.
    ///
    /// # Errors
    /// The system does not say what came.
    pub(crate) fn catch_up(&mut self) -> io::Result<()> {
        for session in self.sessions.iter_mut() {
            if let Some(measurement) = &mut session.input.measurement {
                // Nobody read it.
                measurement.was_held = true;
            }
        }
        // Those that were fetched before come first.
        for _ in 0..self.sessions.len() / Poller::MOST + 2 {
            self.hear_rings();
            self.take_events();
            self.tools.cx.count(LoopCounter::Beats, 1);
            self.fetch_events(Duration::ZERO)?;
            if self.poller.count() == 0 {
                break;
            }
        }
        Ok(())
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
