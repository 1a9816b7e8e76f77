//! A worker without the engine's code: it joins the engine, echoes what sessions send, and harms on command.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use moorline_engine::config::Config;
use moorline_engine::control::{FromRole, Role, ToRole};
use moorline_engine::wire::{DONE, FromProcess, LAST, ToProcess, WHOLE};
use moorline_ipc::{
    Channel, Chime, Consumer, Doorbell, Header, Hello, Packet, Producer, Region, Side, inherited,
};
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};

use crate::answers::{self, HELD};
use crate::misuse;

/// Where the supervisor puts the control channel.
const CONTROL: i32 = 3;
/// Records of one ring that it takes in one turn.
const RECORDS: usize = 64;

/// All that the supervisor has given it.
pub(crate) struct Worker {
    pub(crate) control: Channel,
    pub(crate) config: Config,
    pub(crate) board: OwnedFd,
    pub(crate) chime: Chime,
    pub(crate) links: Vec<Link>,
    pub(crate) files: Channel,
    /// The sessions that were opened here.
    pub(crate) sessions: Vec<u64>,
    /// The plain requests that it is to misuse: the number of the loop, and its own.
    pub(crate) requests: Vec<(usize, u64)>,
}

/// What it shares with one loop of the gateway.
pub(crate) struct Link {
    pub(crate) doorbell: Doorbell,
    pub(crate) region: OwnedFd,
    pub(crate) producer: Producer,
    consumer: Consumer,
}

/// How long one that has its plan from the start takes messages and answers none.
const TAKES: Duration = Duration::from_millis(300);

/// Serves until it is killed, or told to stop. With a plan it serves nobody, but takes what comes and then carries it out.
pub(crate) fn run(plan: &str) -> io::Result<()> {
    let control = Channel::from_fd(inherited(CONTROL)?);
    control.send(&Hello::current(), &[])?;
    let mut worker = Worker::start(control)?;
    worker.say(&FromRole::Ready)?;
    if !plan.is_empty() {
        std::fs::write("misuses.draft", std::process::id().to_string())?;
        std::fs::rename("misuses.draft", "misuses")?;
        worker.take_for(TAKES)?;
        misuse::carry_out(&mut worker, plan)?;
        loop {
            std::thread::sleep(TAKES);
        }
    }
    loop {
        for place in 0..worker.links.len() {
            for _ in 0..RECORDS {
                if !worker.take_record(place)? {
                    break;
                }
            }
            worker.publish(place);
        }
        if worker.sleep()? {
            return Ok(());
        }
    }
}

impl Worker {
    fn start(control: Channel) -> io::Result<Self> {
        poll(
            &mut [PollFd::from_borrowed_fd(control.as_fd(), PollFlags::IN)],
            None,
        )?;
        let Packet { bytes, fds } = control.recv()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let ToRole::StartProcess {
            role: Role::Worker(_),
            config,
            ..
        } = postcard::from_bytes(&bytes).map_err(io::Error::other)?
        else {
            return Err(io::Error::other("something else than a start"));
        };
        let mut descriptors = fds?.into_iter();
        let mut next = || descriptors.next().ok_or(io::ErrorKind::UnexpectedEof);
        let (board, chime) = (next()?, Chime::from_fd(next()?));
        let mut links = Vec::new();
        for _ in 0..config.engine.gateway_loops {
            let (doorbell, region) = (Doorbell::from_fd(next()?), next()?);
            let mapped = Region::map(region.try_clone()?, Side::Process)?;
            links.push(Link {
                doorbell,
                region,
                producer: mapped.producer,
                consumer: mapped.consumer,
            });
        }
        Ok(Self {
            control,
            config: *config,
            board,
            chime,
            links,
            files: Channel::from_fd(next()?),
            sessions: Vec::new(),
            requests: Vec::new(),
        })
    }

    pub(crate) fn say(&self, message: &FromRole) -> io::Result<()> {
        let bytes = postcard::to_stdvec(message).map_err(io::Error::other)?;
        self.control.send(&bytes, &[])
    }

    /// Takes what comes, and does nothing about it.
    fn take_for(&mut self, time: Duration) -> io::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < time {
            for link in &mut self.links {
                while let Some(record) = link.consumer.next().map_err(io::Error::other)? {
                    if record.header().kind == ToProcess::Open as u8 {
                        self.sessions.push(record.header().session);
                    }
                }
                if link.consumer.end_turn() {
                    link.doorbell.ring();
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Takes one record and answers it. False: there is none.
    fn take_record(&mut self, place: usize) -> io::Result<bool> {
        let link = &mut self.links[place];
        let Some(record) = link.consumer.next().map_err(io::Error::other)? else {
            return Ok(false);
        };
        let header = *record.header();
        let mut payload = Vec::new();
        record.copy_to(&mut payload);
        drop(record);
        match ToProcess::from_u8(header.kind) {
            Some(ToProcess::Open) => self.sessions.push(header.session),
            Some(ToProcess::Message) => self.answer(place, &header, &payload)?,
            Some(ToProcess::Request) => self.take_request(place, header.session, &payload),
            _ => {}
        }
        Ok(true)
    }

    /// A request is small. It is answered, unless it is for a misuse.
    fn take_request(&mut self, place: usize, number: u64, payload: &[u8]) {
        if payload.windows(HELD.len()).any(|it| it == HELD) {
            self.requests.push((place, number));
            return;
        }
        let header = Header {
            kind: FromProcess::Respond as u8,
            flags: LAST,
            session: number,
            ..Header::default()
        };
        let answer = answers::honest();
        // Without room it has no answer.
        let _ = self.links[place].producer.push(&header, &[&answer]);
        self.publish(place);
    }

    /// What it is asked is the probe's `pid`, `slot` or `id`, or what to do from now on; all else is echoed.
    fn answer(&mut self, place: usize, asked: &Header, payload: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(payload).into_owned();
        let plan = text.strip_prefix("misuse ");
        let answer = match text.as_str() {
            "pid" => std::process::id().to_string().into_bytes(),
            "slot" => b"1".to_vec(),
            "id" => format!("{:016x}", asked.session).into_bytes(),
            _ if plan.is_some() => b"begins".to_vec(),
            _ => payload.to_vec(),
        };
        let header = Header {
            kind: FromProcess::Send as u8,
            flags: WHOLE | DONE,
            aux: 0,
            session: asked.session,
            sequence: asked.sequence,
            time: payload.len() as u64,
        };
        while self.links[place]
            .producer
            .push(&header, &[&answer])
            .is_err()
        {
            self.publish(place);
            std::thread::yield_now();
        }
        self.publish(place);
        match plan {
            Some(plan) => {
                // The answer is to be taken as it is.
                while !self.links[place].producer.is_consumed() {
                    std::thread::yield_now();
                }
                misuse::carry_out(self, plan)
            }
            None => Ok(()),
        }
    }

    /// Shows a loop what was pushed for it.
    pub(crate) fn publish(&mut self, place: usize) {
        let link = &mut self.links[place];
        let waits = link.consumer.end_turn();
        if link.producer.publish() || waits {
            link.doorbell.ring();
        }
    }

    /// Until something comes. True: it is to end.
    fn sleep(&mut self) -> io::Result<bool> {
        let is_quiet = self
            .links
            .iter_mut()
            .all(|link| link.consumer.begin_sleep());
        if is_quiet {
            let a_while = Timespec {
                tv_sec: 0,
                tv_nsec: 20_000_000,
            };
            // It is a set that watches the doorbell; what comes by the control channel is looked for afterwards.
            let mut events = Vec::with_capacity(1);
            let events = rustix::buffer::spare_capacity(&mut events);
            epoll::wait(&self.chime, events, Some(&a_while))?;
        }
        for link in &mut self.links {
            link.consumer.awake();
        }
        match self.control.recv() {
            Ok(Some(Packet { bytes, .. })) => {
                let order = postcard::from_bytes(&bytes).map_err(io::Error::other)?;
                Ok(matches!(order, ToRole::Stop { .. }))
            }
            Ok(None) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}
