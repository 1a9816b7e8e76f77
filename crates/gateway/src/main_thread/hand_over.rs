//! Everything goes to another gateway: the main thread's part on this side.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use moorline_ipc::Channel;
use moorline_protocol::control::FromRole;
use moorline_protocol::control_channel::{Descriptors, encode};
use tokio::time::{sleep, timeout_at};

use crate::commands::{Command, Report};
use crate::main_thread::Gateway;
use crate::main_thread::estate::KeptEstate;
use crate::main_thread::standstill::Standstill;
use crate::obstacles::{Obstacle, Obstacles};
use crate::stream::{MOST_BYTES, Stream};

/// How long it may take. Nothing is read meanwhile.
const TIME: Duration = Duration::from_secs(3);
/// How long a change may take that began before, for instance because a worker was replaced. Everything is read meanwhile.
const CHANGE_TIME: Duration = Duration::from_millis(500);
/// How long HTTP connections may take to end. Sessions are served meanwhile.
const HTTP_TIME: Duration = Duration::from_millis(500);
/// How long apps may take to notice that requests are cut. Sessions are served meanwhile.
const CUT_TIME: Duration = Duration::from_millis(500);
/// How often it is looked whether they have.
const CUT_PAUSE: Duration = Duration::from_millis(2);
/// How long messages to groups that are under way may take: a busy app would else make each try a long pause.
const SETTLE_TIME: Duration = Duration::from_secs(1);
/// The most bytes that all loops may take with them. There are up to four copies of them for a moment: here, in pieces on
/// their way, and there.
const MOST_WEIGHT: u64 = MOST_BYTES;

impl Gateway {
    /// Stands still, and sends everything to the gateway at the other end of a channel.
    pub(super) async fn hand_over(&mut self, descriptors: Descriptors, cuts_http: bool) {
        let deadline = Instant::now() + TIME;
        let stream = stream_to_next(descriptors, deadline);
        let handed_over = match &stream {
            Ok(stream) => self.try_hand_over(stream, deadline, cuts_http).await,
            Err(error) => Err(io::Error::other(error.to_string())),
        };
        let failure = match handed_over {
            Ok(()) => None,
            Err(reason) => {
                self.go_on().await;
                Some(reason.to_string())
            }
        };
        self.say(&FromRole::HandedOver { failure }).await;
        // Not before: the other one would complain of the end, and the reason would be lost.
        drop(stream);
    }

    async fn try_hand_over(
        &mut self,
        stream: &Arc<Stream>,
        deadline: Instant,
        cuts_http: bool,
    ) -> io::Result<()> {
        stream.expect_greeting()?;
        self.finish_changes().await?;
        if self.is_stopping || self.stands.is_some() || self.drain.is_some() {
            return Err(io::Error::other("the gateway stops or drains"));
        }
        self.shared.http.end_present(HTTP_TIME).await;
        if cuts_http {
            self.cut_http(deadline).await?;
        }
        refuse(&self.obstacles())?;
        let no_files = timeout_at(deadline.into(), self.file_gate.close()).await;
        let no_files = no_files.map_err(|_| late("a file is being looked at"))?;
        self.stands = Some(Standstill::begin(no_files, self.loops.len()));
        self.tell_loops(|_| Command::Stand);
        self.hear_all(deadline, |report| matches!(report, Report::Stands))
            .await?;
        self.settle(deadline).await?;
        let (bytes, descriptors) = self.estate()?;
        stream.send(&bytes, &descriptors)?;
        drop(descriptors);
        stream.send(&encode(&self.shared.hub.keep_all())?, &[])?;
        for index in 0..self.loops.len() {
            self.loops[index].send(Command::HandOver(stream.clone()));
            self.hear_handed_over(deadline).await?;
        }
        Ok(())
    }

    /// Cuts HTTP connections, also those that come meanwhile, until there are none and the loops have no request left.
    /// An app needs a moment to notice. If it needs longer, the requests that are left prevent the upgrade.
    async fn cut_http(&mut self, deadline: Instant) -> io::Result<()> {
        let enough = deadline.min(Instant::now() + CUT_TIME);
        loop {
            let left = enough.saturating_duration_since(Instant::now());
            self.shared.http.cut(left).await;
            let requests = self.count_requests(deadline).await?;
            let are_none = requests == 0 && self.shared.http.connections() == 0;
            if are_none || Instant::now() >= enough {
                return Ok(());
            }
            sleep(CUT_PAUSE).await;
        }
    }

    /// The requests of HTTP connections that loops have, also of those that have ended.
    async fn count_requests(&mut self, deadline: Instant) -> io::Result<usize> {
        let mut all = 0;
        self.tell_loops(|_| Command::CountRequests);
        self.hear_all(deadline, |report| match report {
            Report::Requests(many) => {
                all += many;
                true
            }
            _ => false,
        })
        .await?;
        Ok(all)
    }

    /// Waits until the loops have carried out the present changes of processes and configurations.
    async fn finish_changes(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + CHANGE_TIME;
        while self.change.is_some()
            || !self.attaching.is_empty()
            || self.activations > self.confirmed
        {
            let report = self.hear(deadline).await;
            let report = report.map_err(|_| late("the gateway is being changed"))?;
            Box::pin(self.pass_on(report)).await;
        }
        Ok(())
    }

    /// What keeps the main thread's part from going to another process.
    fn obstacles(&self) -> Obstacles {
        let mut found = Obstacles::default();
        found.note(Obstacle::Http, self.shared.http.connections() as u64);
        found
    }

    /// Has the loops come to rest.
    async fn settle(&mut self, deadline: Instant) -> io::Result<()> {
        let enough = Instant::now() + SETTLE_TIME;
        loop {
            let mut found = Obstacles::default();
            let (mut are_quiet, mut weight) = (true, 0);
            self.tell_loops(|_| Command::Settle);
            self.hear_all(deadline, |report| match report {
                Report::Settled(is_quiet, obstacles, bytes) => {
                    are_quiet &= is_quiet;
                    weight += bytes;
                    found.add(obstacles);
                    true
                }
                _ => false,
            })
            .await?;
            // What the loops have passed on meanwhile is counted once its task runs.
            tokio::task::yield_now().await;
            found.add(&self.obstacles());
            refuse(&found)?;
            refuse_weight(weight)?;
            if are_quiet {
                return Ok(());
            }
            if Instant::now() >= enough {
                return Err(late(
                    "messages to groups are under way; try again when fewer are sent",
                ));
            }
        }
    }

    /// Hears one such report of each loop. Others are handled as always.
    pub(super) async fn hear_all(
        &mut self,
        deadline: Instant,
        mut is_one: impl FnMut(&Report) -> bool,
    ) -> io::Result<()> {
        let mut missing = self.loops.len();
        while missing > 0 {
            let report = self.hear(deadline).await?;
            match is_one(&report) {
                true => missing -= 1,
                false => Box::pin(self.pass_on(report)).await,
            }
        }
        Ok(())
    }

    pub(super) async fn hear(&mut self, deadline: Instant) -> io::Result<Report> {
        let report = timeout_at(deadline.into(), self.reports.recv()).await;
        let report = report.map_err(|_| late("a loop does not answer"))?;
        report.ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    async fn hear_handed_over(&mut self, deadline: Instant) -> io::Result<()> {
        loop {
            match self.hear(deadline).await? {
                Report::HandedOver(sent) => return sent.map_err(io::Error::other),
                other => Box::pin(self.pass_on(other)).await,
            }
        }
    }

    fn estate(&self) -> io::Result<(Vec<u8>, Vec<BorrowedFd<'_>>)> {
        let joined = self.joined.iter();
        let processes = joined.clone().map(|(id, it)| (*id, it.role, it.pid));
        let since_ns = self.stands.as_ref().map_or(0, |stands| stands.since_ns);
        let kept = KeptEstate {
            since_ns,
            loops: self.loops.len() as u16,
            last_request: self.shared.last_request(),
            processes: processes.collect(),
        };
        let descriptors = joined.flat_map(|(_, it)| [it.doorbell.as_fd(), it.files.as_fd()]);
        Ok((encode(&kept)?, descriptors.collect()))
    }
}

fn stream_to_next(descriptors: Descriptors, deadline: Instant) -> io::Result<Arc<Stream>> {
    let channel = descriptors?.into_iter().next().ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "the channel to the new gateway is missing",
        )
    })?;
    let stream = Stream::new(Channel::from_fd(channel), deadline);
    Ok(Arc::new(stream))
}

fn refuse(obstacles: &Obstacles) -> io::Result<()> {
    match obstacles.are_none() {
        true => Ok(()),
        false => Err(io::Error::other(obstacles.to_string())),
    }
}

/// Before anything is allocated for it.
fn refuse_weight(weight: u64) -> io::Result<()> {
    match weight > MOST_WEIGHT {
        true => Err(io::Error::other(format!(
            "{weight} bytes of queued output, state and messages are too many to move, at most {MOST_WEIGHT} can: \
             try again when clients have taken what is queued for them"
        ))),
        false => Ok(()),
    }
}

pub(super) fn late(what: impl fmt::Display) -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("it takes too long: {what}"),
    )
}
