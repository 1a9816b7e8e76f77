//! The gateway's side of a worker.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use moorline_ipc::{
    Channel, Chime, Consumer, Doorbell, Header, Marks, Producer, Region, Scoreboard, Side,
    create_region, create_scoreboard,
};
use moorline_net::{Address, Framing, HostPort};
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};

use crate::app::CloseReason;
use crate::config::{
    Config, CpuAffinity, Dispatch, Engine, Hooks, Listener, Log, LogFormat, OnCrash, OnError,
    Tasks, Workers,
};
use crate::control::{FromRole, PROCESS_ROW, ProcessCounter, Role, ToRole};
use crate::wire::{Closing, FromProcess, Opening, Peer, ToProcess, WHOLE};
use crate::{ProcessStart, run};

use super::scripted::Scripted;

/// Long enough for a busy machine; a test that passes never waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A record as the gateway sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) aux: u16,
    pub(super) session: u64,
    pub(super) sequence: u64,
    pub(super) time: u64,
    pub(super) payload: Vec<u8>,
}

impl Seen {
    pub(super) fn send(session: u64, flags: u8, payload: &[u8]) -> Self {
        let kind = FromProcess::Send as u8;
        Self {
            kind,
            flags,
            aux: 0,
            session,
            sequence: 0,
            time: 0,
            payload: payload.to_vec(),
        }
    }

    pub(super) fn done(session: u64, sequence: u64, size: u64, flags: u8) -> Self {
        let kind = FromProcess::Done as u8;
        Self {
            kind,
            flags,
            aux: 0,
            session,
            sequence,
            time: size,
            payload: Vec::new(),
        }
    }
}

/// The gateway's ends of one loop's rings.
pub(super) struct Link {
    producer: Producer,
    consumer: Consumer,
    chime: Chime,
    marks: Marks,
}

/// A running worker and all that surrounds it.
pub(super) struct Harness {
    links: Vec<Link>,
    worker_bell: Doorbell,
    control: Option<Channel>,
    events: Receiver<String>,
    gate: Sender<()>,
    thread: Option<JoinHandle<io::Result<()>>>,
    scoreboard: Scoreboard,
    /// The gateway's end of the way of descriptors.
    files: Channel,
}

impl Harness {
    /// A worker in slot 0 of 2, ready to serve, with one gateway loop.
    pub(super) fn start() -> Self {
        Self::start_with(OnCrash::Close)
    }

    pub(super) fn start_with(on_crash: OnCrash) -> Self {
        let mut config = config("test");
        config.listeners[0].on_crash = on_crash;
        let mut harness = Self::launch(config, Role::Worker(0), 1);
        assert!(matches!(harness.report(), Some(FromRole::Ready)));
        harness
    }

    pub(super) fn launch(mut config: Config, role: Role, loops: usize) -> Self {
        config.engine.gateway_loops = loops as u16;
        let (files, their_files) = Channel::pair().unwrap();
        let (control, theirs) = Channel::pair().unwrap();
        let worker_bell = Doorbell::new().unwrap();
        let (links, their_loops) = connect(loops);
        let scoreboard =
            Scoreboard::map(create_scoreboard(PROCESS_ROW).unwrap(), PROCESS_ROW).unwrap();
        let start = ProcessStart {
            control: theirs,
            process: 7,
            role,
            generation: 1,
            engine: 1,
            config,
            scoreboard: scoreboard.clone(),
            chime: worker_bell.chime().unwrap(),
            loops: their_loops,
            executable: None,
            files: their_files,
        };
        let (sender, events) = channel();
        let (opener, gate) = channel();
        let thread = std::thread::spawn(move || {
            run(start, async |context, _| {
                Scripted::begin(context, sender, gate).await
            })
        });
        Self {
            links,
            worker_bell,
            control: Some(control),
            events,
            gate: opener,
            thread: Some(thread),
            scoreboard,
            files,
        }
    }

    /// A new gateway takes over.
    pub(super) fn replace_gateway(&mut self) {
        let (links, theirs) = connect(self.links.len());
        self.links = links;
        let mut fds: Vec<OwnedFd> = theirs
            .into_iter()
            .flat_map(|(bell, region)| [bell.into(), region])
            .collect();
        let (files, their_files) = Channel::pair().unwrap();
        self.files = files;
        fds.push(their_files.into());
        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(|fd| fd.as_fd()).collect();
        self.tell_with(&ToRole::NewGateway, &fds);
    }

    pub(super) fn tell(&self, message: &ToRole) {
        self.tell_with(message, &[]);
    }

    pub(super) fn tell_with(&self, message: &ToRole, fds: &[BorrowedFd<'_>]) {
        let message = postcard::to_stdvec(message).unwrap();
        self.control.as_ref().unwrap().send(&message, fds).unwrap();
    }

    /// What the worker reports to its supervisor next; `None` when it has gone.
    pub(super) fn report(&mut self) -> Option<FromRole> {
        let control = self.control.as_ref().unwrap();
        await_readable(control.as_fd());
        let packet = control.recv().unwrap()?;
        Some(postcard::from_bytes(&packet.bytes).unwrap())
    }

    pub(super) fn supervisor_dies(&mut self) {
        self.control = None;
    }

    /// Waits for the worker's end.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.thread.take().unwrap().join().unwrap()
    }

    pub(super) fn stop(&mut self) {
        self.tell(&ToRole::Stop {
            over_ms: 0,
            max_wait_ms: 20_000,
        });
        self.end().unwrap();
    }

    pub(super) fn event(&self) -> String {
        self.events.recv_timeout(PATIENCE).unwrap()
    }

    /// The next event, if it comes at once.
    pub(super) fn event_now(&self) -> Option<String> {
        self.events.recv_timeout(Duration::from_millis(1)).ok()
    }

    /// Lets a blocked handler go on.
    pub(super) fn open_gate(&self) {
        self.gate.send(()).unwrap();
    }

    /// Whose handler the process is polling, as far as one can see from outside.
    pub(super) fn polling(&self) -> u64 {
        self.links[0].marks.polling()
    }

    pub(super) fn counter(&self, counter: ProcessCounter) -> u64 {
        self.scoreboard.get(counter as usize)
    }

    /// Writes a record and shows it to the worker.
    pub(super) fn give(&mut self, header: Header, payload: &[u8]) {
        self.queue(header, payload);
        self.publish();
    }

    pub(super) fn queue(&mut self, header: Header, payload: &[u8]) {
        let link = &mut self.links[(header.session >> 48) as usize];
        link.producer.push(&header, &[payload]).unwrap();
    }

    pub(super) fn publish(&mut self) {
        for link in &mut self.links {
            if link.producer.publish() {
                self.worker_bell.ring();
            }
        }
    }

    /// As [`publish`](Self::publish), but as if the doorbell were heard late.
    pub(super) fn publish_silently(&mut self) {
        for link in &mut self.links {
            let _ = link.producer.publish();
        }
    }

    pub(super) fn give_kind(&mut self, kind: ToProcess, session: u64) {
        self.give(
            Header {
                kind: kind as u8,
                session,
                ..Header::default()
            },
            &[],
        );
    }

    pub(super) fn open(&mut self, session: u64) {
        let opening = Opening {
            tls: None,
            listener: 0,
            adopted: false,
            full: false,
            peer: Peer::Unix,
            data: None,
            connected_at: 1,
        };
        let header = Header {
            kind: ToProcess::Open as u8,
            session,
            ..Header::default()
        };
        self.give(header, &postcard::to_stdvec(&opening).unwrap());
        assert_eq!(self.event(), format!("open {session} Fresh unix"));
        let opened = self.take_from((session >> 48) as usize);
        assert_eq!(
            (opened.kind, opened.session),
            (FromProcess::Opened as u8, session)
        );
    }

    pub(super) fn message(&mut self, session: u64, sequence: u64, text: &str) {
        self.queue_message(session, sequence, text);
        self.publish();
    }

    pub(super) fn queue_message(&mut self, session: u64, sequence: u64, text: &str) {
        let kind = ToProcess::Message as u8;
        self.queue(
            Header {
                kind,
                flags: WHOLE,
                session,
                sequence,
                ..Header::default()
            },
            text.as_bytes(),
        );
    }

    pub(super) fn close(&mut self, session: u64, reason: CloseReason) {
        self.queue_close(session, reason);
        self.publish();
    }

    pub(super) fn queue_close(&mut self, session: u64, reason: CloseReason) {
        let header = Header {
            kind: ToProcess::Close as u8,
            aux: reason as u16,
            session,
            ..Header::default()
        };
        self.queue(header, &postcard::to_stdvec(&Closing::default()).unwrap());
    }

    /// The next record from the worker.
    pub(super) fn take(&mut self) -> Seen {
        self.take_from(0)
    }

    pub(super) fn take_from(&mut self, link: usize) -> Seen {
        let link = &mut self.links[link];
        loop {
            let seen = link.consumer.next().unwrap().map(|record| {
                let Header {
                    kind,
                    flags,
                    aux,
                    session,
                    sequence,
                    time,
                } = *record.header();
                let mut payload = Vec::new();
                record.copy_to(&mut payload);
                Seen {
                    kind,
                    flags,
                    aux,
                    session,
                    sequence,
                    time,
                    payload,
                }
            });
            if let Some(seen) = seen {
                if link.consumer.end_turn() {
                    self.worker_bell.ring();
                }
                return seen;
            }
            if link.consumer.begin_sleep() {
                await_ring(&link.chime);
                link.consumer.awake();
            }
        }
    }

    /// The gateway holds senders, since it has something to say that finds no room.
    pub(super) fn hold_senders(&self) {
        self.links[0].marks.hold_senders(u64::MAX);
    }

    /// Senders go on once what was given so far is taken.
    pub(super) fn release_senders(&self) {
        let link = &self.links[0];
        link.marks.hold_senders(link.producer.position());
        self.worker_bell.ring();
    }

    /// The records that count if the process dies now. None comes after that.
    pub(super) fn last_records(&mut self, link: usize) -> Vec<Seen> {
        let consumer = &mut self.links[link].consumer;
        consumer.close();
        let mut records = Vec::new();
        while !self.links[link].consumer.is_empty() {
            records.push(self.take_from(link));
        }
        records
    }

    /// Nothing more is published at the moment.
    pub(super) fn has_nothing(&mut self) -> bool {
        self.links.iter_mut().all(|link| link.consumer.is_empty())
    }
}

fn connect(loops: usize) -> (Vec<Link>, Vec<(Doorbell, OwnedFd)>) {
    (0..loops)
        .map(|_| {
            let region = create_region(64 * 1024).unwrap();
            let bell = Doorbell::new().unwrap();
            let theirs = (bell.try_clone().unwrap(), region.try_clone().unwrap());
            let Region {
                producer,
                consumer,
                marks,
                ..
            } = Region::map(region, Side::Gateway).unwrap();
            (
                Link {
                    producer,
                    consumer,
                    chime: bell.chime().unwrap(),
                    marks,
                },
                theirs,
            )
        })
        .unzip()
}

/// A chime is an epoll set, so it can be waited on without another.
fn await_ring(chime: &Chime) {
    let patience = Timespec {
        tv_sec: PATIENCE.as_secs() as i64,
        tv_nsec: 0,
    };
    let mut events = Vec::with_capacity(1);
    let spare = rustix::buffer::spare_capacity(&mut events);
    let rings = epoll::wait(chime, spare, Some(&patience)).unwrap();
    assert_ne!(rings, 0, "nobody rang");
}

fn await_readable(fd: BorrowedFd<'_>) {
    let patience = Timespec {
        tv_sec: PATIENCE.as_secs() as i64,
        tv_nsec: 0,
    };
    let ready = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&patience)).unwrap();
    assert_ne!(ready, 0, "nothing came");
}

#[expect(clippy::too_many_lines, reason = "one line for each field")]
pub(super) fn config(name: &str) -> Config {
    let listener = Listener {
        names: Vec::new(),
        host: None,
        name: "main".into(),
        address: Address::Tcp(HostPort {
            host: "127.0.0.1".into(),
            port: 0,
        }),
        destination: None,
        sets: Vec::new(),
        uses: Default::default(),
        datagrams: Default::default(),
        tls: None,
        framing: Framing::Line { max: 1024 * 1024 },
        routes: Default::default(),
        requests: Default::default(),
        proxies: Default::default(),
        compression: None,
        idle_timeout: None,
        receive_timeout: None,
        send_timeout: None,
        half_close_timeout: Duration::from_secs(300),
        min_receive_rate: None,
        max_sessions_per_address: None,
        accept_rate: None,
        max_handshakes: 1024,
        handshake_timeout: Duration::from_secs(10),
        liveness: Default::default(),
        high_watermark: 1024 * 1024,
        low_watermark: 256 * 1024,
        hard_limit: 8 * 1024 * 1024,
        on_crash: OnCrash::Close,
        on_error: OnError::Close,
        attempts: 3,
        stream: Default::default(),
        max_sessions: 10,
        deliver_after_close: false,
        dispatch: Dispatch::Sticky,
        certificate: None,
        is_retired: false,
    };
    Config {
        name: name.into(),
        engine: Engine {
            run_dir: PathBuf::from("/nowhere"),
            gateway_loops: 1,
            ring_memory: 4 * 1024 * 1024,
            memory_limit: None,
            history_memory: 64 << 20,
            history_timeout: Duration::from_secs(600),
            user: None,
            group: None,
            gateway_user: None,
            stop_over: Duration::ZERO,
            stop_code: 1001,
            kill_after: None,
            chroot: None,
            log: Log {
                format: LogFormat::Pretty,
                file: None,
                level: "info".into(),
            },
            hooks: Hooks::default(),
        },
        workers: Workers {
            count: 2,
            max_wait: Duration::from_secs(10),
            start_timeout: Duration::from_secs(10),
            dispatch: Dispatch::Sticky,
            max_requests: None,
            stall_after: None,
            wait_after: None,
            kill_after: None,
            cpu_affinity: CpuAffinity::Off,
            lua: None,
        },
        tasks: Tasks {
            count: 1,
            attempts: 3,
            max_requests: None,
            stall_after: None,
            wait_after: None,
            kill_after: None,
        },
        helpers: Vec::new(),
        cluster: None,
        listeners: vec![listener],
        upstreams: Vec::new(),
        maps: Vec::new(),
        limits: Vec::new(),
        access_logs: Vec::new(),
        app: String::new(),
    }
}
