//! Groups that keep their events, in a random run: clients that come and come back get each event once and in order, or are told
//! of a gap.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use moorline_ipc::Header;

use super::super::client::Client;
use super::Crowd;
use crate::commands::Command;
use crate::shared::hub::{Receipt, event};
use moorline_protocol::wire::event::{EVENT, Event, write_event};
use moorline_protocol::wire::{FromProcess, WHOLE};

/// A group that keeps all its events, and one that keeps few.
const ROOMS: [&str; 2] = ["whole", "short"];
const WHOLE_ROOM: usize = 0;
/// Events that the first keeps.
const ALL: usize = 10_000;
/// Clients that come back, each to one of the groups in turn.
const REGULARS: usize = 6;
/// The sender of what is published over HTTP: no process has this number.
const PUBLISHER: u32 = 0;
/// The most bytes of an event.
const LARGEST: usize = 3000;
/// Time until all histories are over, in milliseconds.
const HISTORY_TIME: u64 = 2_000_000;

/// What was sent to groups, and who comes back to them.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    regulars: Vec<Regular>,
    /// The number of the last event of each sender to each group.
    last: BTreeMap<(u32, usize), u64>,
    /// The events of processes, by what these call them.
    named: BTreeMap<u64, Place>,
    /// Events for which there was no memory.
    refused: BTreeSet<Place>,
    /// Events that a regular has not got before the one that followed.
    missed: BTreeSet<Place>,
    visits: u32,
    gaps: u32,
}

/// An event: its group, its sender, and its number among those of the sender to the group.
type Place = (usize, u32, u64);

/// A client over all its connections.
#[derive(Debug, Default)]
struct Regular {
    room: usize,
    /// Where it is: the client's number, and how many of its lines are read.
    here: Option<(u64, usize)>,
    /// It may have missed something before it came here.
    may_miss: bool,
    /// The senders of what it has got here.
    heard: BTreeSet<u32>,
    /// What it has got: who sent it, and that sender's number for it.
    got: Vec<(u32, u64)>,
}

impl Regular {
    /// The id of the last event that it has got.
    fn last_id(&self) -> String {
        let last = self.got.last();
        last.map_or(String::new(), |(sender, number)| {
            format!("{sender}-{number}")
        })
    }

    /// The last number that it got of a sender.
    fn last_of(&self, sender: u32) -> u64 {
        let mut got = self.got.iter().rev();
        let found = got.find(|(it, _)| *it == sender);
        found.map_or(0, |(_, number)| *number)
    }
}

impl Crowd {
    /// From now on there are such groups, and plain requests.
    pub(super) fn open_rooms(&mut self) {
        self.has_more = true;
        self.rooms.regulars = (0..REGULARS)
            .map(|at| Regular {
                room: at % ROOMS.len(),
                ..Regular::default()
            })
            .collect();
        let hub = &self.script.gateway.tools.cx.shared.hub;
        let kept = hub.keep(ROOMS[WHOLE_ROOM].as_bytes(), ALL, 0);
        kept.expect("it is the first one");
        self.script.command(Command::WatchHistories);
    }

    /// Somebody sends to a group, or comes to it.
    pub(super) fn step_rooms(&mut self) {
        match self.rng.u32(0..10) {
            0..4 => self.send_event(),
            4..6 => self.publish(),
            6..9 => self.visit(),
            _ => self.keep_few(),
        }
        self.read_rooms();
    }

    /// A process sends an event to a group, if nothing of its own waits for room.
    fn send_event(&mut self) {
        let Some(at) = self.process() else { return };
        let to = self.rng.usize(0..ROOMS.len());
        let (room, size) = (ROOMS[to], self.rng.usize(0..LARGEST));
        let is_repeated = self.rng.u32(0..10) == 0 && to == WHOLE_ROOM && !self.is_limited();
        let process = &mut self.script.processes[at];
        process.flush();
        let Some(position) = process.position() else {
            return;
        };
        let (sender, session) = (process.id, process.number());
        let number = self.rooms.next(sender, to);
        let (id, data) = written(room, sender, number, size);
        let mut payload = vec![room.len() as u8];
        payload.extend_from_slice(room.as_bytes());
        // Nobody is left out, and there is one loop.
        payload.extend_from_slice(&[0, 0, 1]);
        payload.extend_from_slice(&position.to_le_bytes());
        let event = Event {
            id: &id,
            name: "",
            data: &data,
        };
        write_event(event, &mut payload);
        self.rooms.named.insert(session, (to, sender, number));
        let header = Header {
            kind: FromProcess::Broadcast as u8,
            flags: WHOLE,
            aux: EVENT,
            session,
            ..Header::default()
        };
        process.push(header, &payload);
        if is_repeated {
            // It says it twice, as one that has died in between does: nobody gets it again.
            let session = process.number();
            process.push(Header { session, ..header }, &payload);
        }
        process.flush();
    }

    /// Something comes over HTTP.
    fn publish(&mut self) {
        let hub = &self.script.gateway.tools.cx.shared.hub;
        let size = self.rng.usize(0..LARGEST);
        let room = pin!(hub.room(size));
        let Poll::Ready(permit) = room.poll(&mut Context::from_waker(Waker::noop())) else {
            return;
        };
        let receipt = Receipt::Request(permit.expect("the room stays"));
        let to = self.rng.usize(0..ROOMS.len());
        let (number, room) = (self.rooms.next(PUBLISHER, to), ROOMS[to]);
        let (id, data) = written(room, PUBLISHER, number, size);
        let draft = event(room.as_bytes(), &id, "", &data, Vec::new());
        hub.send(draft, None, receipt, self.script.now);
    }

    /// A regular that is nowhere comes as a client that is there.
    fn visit(&mut self) {
        let at = self.rng.usize(0..REGULARS);
        let count = self.clients.len();
        if self.rooms.regulars[at].here.is_some() || count == 0 {
            return;
        }
        let place = self.rng.usize(0..count);
        let (number, lines) = (
            self.clients[place].number(),
            self.clients[place].others.len(),
        );
        let is_free = |it: &Regular| it.here.is_none_or(|(other, _)| other != number);
        let process = self.process();
        if let (Some(session), Some(process)) = (self.session_of(number), process)
            && self.rooms.regulars.iter().all(is_free)
        {
            self.come(at, (number, lines));
            self.join(process, at, session);
        }
    }

    /// A regular is here from now on.
    fn come(&mut self, at: usize, here: (u64, usize)) {
        let client = self.clients.iter().find(|it| it.number() == here.0);
        let tells = client.is_some_and(Client::tells_of_gaps);
        let is_limited = self.is_limited();
        self.rooms.visits += 1;
        let regular = &mut self.rooms.regulars[at];
        regular.here = Some(here);
        regular.heard.clear();
        // The first time it asks for what there is.
        regular.may_miss =
            (regular.room != WHOLE_ROOM || is_limited) && (!tells || regular.got.is_empty());
    }

    fn is_limited(&self) -> bool {
        self.script.config.engine.memory_limit.is_some()
    }

    /// The session of this client, as long as it is there.
    fn session_of(&self, number: u64) -> Option<u64> {
        let client = self.clients.iter().find(|it| it.number() == number)?;
        let peer = client.peer();
        let mut sessions = self.script.gateway.sessions.iter();
        let session = sessions.find(|it| it.peer == peer && it.lives())?;
        client.is_open().then_some(session.id)
    }

    fn join(&mut self, process: usize, regular: usize, session: u64) {
        let regular = &self.rooms.regulars[regular];
        let (room, last) = (ROOMS[regular.room], regular.last_id());
        let payload = [&[room.len() as u8], room.as_bytes(), last.as_bytes()];
        let header = Header {
            kind: FromProcess::JoinAfter as u8,
            session,
            ..Header::default()
        };
        self.script.processes[process].push(header, &payload.concat());
        self.script.processes[process].flush();
    }

    /// The other group keeps few events from now on, or none.
    fn keep_few(&mut self) {
        let Some(at) = self.process() else { return };
        let room = ROOMS[1 - WHOLE_ROOM];
        let payload = [&self.rng.u32(0..8).to_le_bytes(), room.as_bytes()].concat();
        let header = Header {
            kind: FromProcess::KeepEvents as u8,
            ..Header::default()
        };
        self.script.processes[at].push(header, &payload);
        self.script.processes[at].flush();
    }

    /// Regulars take what has come to them.
    pub(super) fn read_rooms(&mut self) {
        for process in &mut self.script.processes {
            for number in process.refused_events.drain(..) {
                self.rooms.refused.extend(self.rooms.named.get(&number));
            }
        }
        for at in 0..self.rooms.regulars.len() {
            let Some((number, read)) = self.rooms.regulars[at].here else {
                continue;
            };
            let place = self.clients.iter().position(|it| it.number() == number);
            let Some(client) = place.map(|place| &self.clients[place]) else {
                panic!("a client went away with what a regular has not read");
            };
            let (is_open, lines) = (client.is_open(), client.others[read..].to_vec());
            for line in &lines {
                self.hear_line(at, line);
            }
            let regular = &mut self.rooms.regulars[at];
            regular.here = is_open.then_some((number, read + lines.len()));
        }
    }

    fn hear_line(&mut self, at: usize, line: &str) {
        let (is_limited, is_hostile) = (self.is_limited(), self.is_hostile);
        let regular = &mut self.rooms.regulars[at];
        let room = ROOMS[regular.room];
        if line == room {
            let has_all = regular.room == WHOLE_ROOM && !is_limited && !is_hostile;
            assert!(!has_all, "a gap in what is kept: {regular:?}");
            assert!(
                regular.heard.is_empty(),
                "a gap behind an event: {regular:?}"
            );
            regular.may_miss = true;
            self.rooms.gaps += 1;
            return;
        }
        let Some((sender, number)) = read_event(line, room) else {
            return;
        };
        let last = regular.last_of(sender);
        let is_new = regular.heard.insert(sender);
        if !is_hostile {
            assert!(
                number > last,
                "{number} of {sender} after {last}: {regular:?}"
            );
            if !(is_new && regular.may_miss) {
                // Perhaps its sender will hear that there was no memory for it.
                let missed = (last + 1..number).map(|number| (regular.room, sender, number));
                self.rooms.missed.extend(missed);
            }
        }
        regular.got.push((sender, number));
    }

    /// All regulars are there, and have the same events.
    pub(super) fn end_rooms(&mut self) {
        let last = self.script.processes.len() - 1;
        for at in 0..self.rooms.regulars.len() {
            self.read_rooms();
            if self.rooms.regulars[at].here.is_none() {
                let client = self.script.connect(0);
                let here = (client.number(), 0);
                self.clients.push(client);
                self.come(at, here);
            }
            if let Some((number, _)) = self.rooms.regulars[at].here
                && let Some(session) = self.session_of(number)
            {
                self.join(last, at, session);
            }
        }
        for _ in 0..10 {
            self.script.settle(&mut self.clients);
            self.hear_reports();
            self.read_rooms();
        }
        if self.is_hostile {
            return;
        }
        self.check_missed();
        if self.is_limited() {
            return;
        }
        let regulars = &self.rooms.regulars;
        let whole = regulars.iter().filter(|it| it.room == WHOLE_ROOM);
        let mut orders = whole.filter(|it| it.here.is_some()).map(|it| &it.got);
        let first = orders.next().expect("one is there");
        assert!(
            orders.all(|order| order == first),
            "other orders: {regulars:#?}"
        );
    }

    /// What somebody missed was refused. One that has died did not live to hear that.
    fn check_missed(&self) {
        let Rooms {
            missed, refused, ..
        } = &self.rooms;
        let lives = |sender: u32| {
            let mut processes = self.script.processes.iter();
            sender == PUBLISHER || processes.any(|it| it.id == sender)
        };
        let wrong = missed.difference(refused);
        let wrong: Vec<_> = wrong
            .filter(|(_, sender, _)| !self.is_limited() || lives(*sender))
            .collect();
        assert!(wrong.is_empty(), "{wrong:?} are missed");
    }

    /// Nothing is held for groups once their time is over.
    pub(super) fn forget_rooms(&mut self) {
        for _ in 0..4 {
            self.script.now += HISTORY_TIME;
            self.script.turn();
        }
        let hub = &self.script.gateway.tools.cx.shared.hub;
        let held = hub.held().load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(held, 0, "bytes of histories are left");
        assert!(hub.has_all_room(), "room for what is published is left out");
    }
}

impl Display for Rooms {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (sent, refused) = (self.last.values().sum::<u64>(), self.refused.len());
        let got: Vec<_> = self.regulars.iter().map(|it| it.got.len()).collect();
        let Self { visits, gaps, .. } = self;
        write!(
            f,
            "{sent} events, {refused} refused, {got:?} got in {visits} visits with {gaps} gaps told"
        )
    }
}

impl Rooms {
    fn next(&mut self, sender: u32, room: usize) -> u64 {
        let last = self.last.entry((sender, room)).or_default();
        *last += 1;
        *last
    }
}

/// The id and the data of an event with about `bytes` bytes.
fn written(room: &str, sender: u32, number: u64, bytes: usize) -> (String, String) {
    let padding = ".".repeat(bytes);
    let data = format!("@{room}:{sender}:{number}:{padding}");
    (format!("{sender}-{number}"), data)
}

/// The sender and the number of an event of this group.
fn read_event(line: &str, room: &str) -> Option<(u32, u64)> {
    let rest = line.strip_prefix('@')?.strip_prefix(room)?;
    let mut fields = rest.strip_prefix(':')?.split(':');
    let sender = fields.next()?.parse().ok()?;
    Some((sender, fields.next()?.parse().ok()?))
}
