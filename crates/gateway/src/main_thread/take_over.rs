//! Everything comes from another gateway: the main thread's part on this side, and how both go on.

use std::io;
use std::time::{Duration, Instant};

use moorline_ipc::Channel;
use moorline_protocol::control::{FromRole, ProcessId, process_name};
use moorline_protocol::control_channel::ControlChannel;
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::commands::{Command, Report, TakenUp};
use crate::main_thread::estate::{Estate, Heirloom, receive};
use crate::main_thread::standstill::Standstill;
use crate::main_thread::{Gateway, Joined};
use crate::stream::Stream;

/// How long the other gateway may take to send everything.
const TIME: Duration = Duration::from_secs(10);
/// How long it may take before it begins: it may have to close what cannot move first, over as long as a drain may take, a year.
/// The supervisor has a deadline of its own, and ends this process or its channel.
const LONGEST_WAIT: Duration = Duration::from_secs(366 * 24 * 3600);

impl Gateway {
    /// Says that it can take everything, and takes it.
    pub(super) async fn receive(&mut self, channel: Channel) -> io::Result<Heirloom> {
        let mut stream = Stream::new(channel, Instant::now() + LONGEST_WAIT);
        stream.greet()?;
        self.say(&FromRole::Waits).await;
        // There is no older form yet: a reader of one is chosen by this.
        let received = match stream.expect_version() {
            Ok(_) => {
                stream.end_at(Instant::now() + TIME);
                receive(&stream, self.loops.len(), &self.shared.hub)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = &received {
            self.say_failed(error).await;
        }
        received
    }

    async fn say_failed(&self, error: &io::Error) {
        let reason = error.to_string();
        self.say(&FromRole::Failed { reason }).await;
    }

    /// The loops have begun with what they were given: joins the processes, and stands still.
    pub(super) async fn take_over(&mut self, estate: Estate) -> io::Result<()> {
        let taken = self.try_take_over(estate).await;
        if let Err(error) = &taken {
            self.say_failed(error).await;
        }
        taken
    }

    async fn try_take_over(&mut self, estate: Estate) -> io::Result<()> {
        let deadline = Instant::now() + TIME;
        let Estate { kept, processes } = estate;
        let mut sessions = 0;
        let mut marks: FxHashMap<ProcessId, Vec<_>> = FxHashMap::default();
        let mut loops: Vec<Option<TakenUp>> = self.loops.iter().map(|_| None).collect();
        for _ in 0..self.loops.len() {
            let Report::TakenUp(index, taken) = self.hear(deadline).await? else {
                return Err(io::Error::other("a loop does something else"));
            };
            loops[usize::from(index)] = Some(taken.map_err(io::Error::other)?);
        }
        let mut held = 0;
        for taken in loops.into_iter().flatten() {
            sessions += taken.sessions;
            held += taken.held;
            for (process, its) in taken.marks {
                marks.entry(process).or_default().push(its);
            }
        }
        fits(held, self.config.engine.memory_limit)?;
        self.shared.resume_requests(kept.last_request);
        let no_files = self.file_gate.close().await;
        for (process, role, pid, doorbell, files) in processes {
            self.names.insert(process, process_name(role, pid));
            let channel = ControlChannel::new(Channel::from_fd(files.try_clone()?))?;
            let (lives, dead) = oneshot::channel();
            let joined = Joined {
                role,
                pid,
                doorbell,
                files,
                marks: marks.remove(&process).unwrap_or_default(),
                _lives: lives,
            };
            self.joined.insert(process, joined);
            self.take_files_of(process, channel, dead);
        }
        let taken = (kept.since_ns, sessions);
        self.stands = Some(Standstill::after(no_files, self.loops.len(), taken));
        Ok(())
    }

    /// It has taken everything, and another gateway may still go on with it.
    pub(super) fn waits_to_go_on(&self) -> bool {
        let stands = self.stands.as_ref();
        stands.is_some_and(|stands| stands.taken.is_some())
    }

    /// Goes on.
    pub(super) async fn go_on(&mut self) {
        if self.stands.is_some() {
            self.tell_loops(|_| Command::GoOn);
        }
    }

    /// One more loop goes on.
    pub(super) async fn loop_goes_on(&mut self) {
        let Some(stands) = &mut self.stands else {
            return;
        };
        stands.waiting -= 1;
        if stands.waiting > 0 {
            return;
        }
        let Some(stands) = self.stands.take() else {
            return;
        };
        let pause_us = Clock::shared_now_ns().saturating_sub(stands.since_ns) / 1000;
        if let Some(sessions) = stands.taken {
            self.say(&FromRole::GoesOn { sessions, pause_us }).await;
        }
    }

    /// Another gateway goes on with everything: this one ends, and closes nothing before.
    pub(super) async fn leave(&mut self) {
        if self.stands.is_some() {
            self.has_left = true;
        } else {
            tracing::warn!("the supervisor told the gateway to leave while it serves");
        }
    }

    /// The supervisor is gone while nobody knows which of two gateways goes on: neither does.
    pub(super) fn end_in_standstill(&self) -> io::Result<()> {
        tracing::error!("the supervisor is gone while another gateway takes over");
        Ok(())
    }
}

/// A gateway that holds more than its limit would close sessions at once.
fn fits(held: u64, limit: Option<u64>) -> io::Result<()> {
    match limit {
        Some(limit) if held > limit => Err(io::Error::other(format!(
            "it would hold {held} bytes, and `memory_limit` in [engine] is {limit}: \
             try again when clients have taken what is queued for them"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_limit_is_refused() {
        assert!(fits(u64::MAX, None).is_ok());
        assert!(fits(1000, Some(1000)).is_ok());
        let refused = fits(1001, Some(1000)).expect_err("it is too much");
        assert!(refused.to_string().contains("memory_limit"), "{refused}");
    }
}
