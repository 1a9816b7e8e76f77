//! Whatever is sent, kept, forgotten and asked for, in any order and on any loop: each client gets every event once and in order,
//! or is notified of a gap.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fastrand::Rng;

use super::{Content, Draft, Histories, HistoryLimits, MOST_EVENTS, MOST_GROUPS, Sent, TooMany};

const LIMITS: HistoryLimits = HistoryLimits {
    bytes: 1 << 20,
    timeout: 1000,
};
/// Random worlds of one run.
const WORLDS: u64 = 400;
const STEPS: usize = 400;

fn histories() -> Histories {
    Histories::new("e".to_owned(), LIMITS)
}

fn event(group: &str, id: &str, data: &str) -> Draft {
    Draft {
        group: group.as_bytes().into(),
        content: Content::Event {
            id: id.into(),
            name: "".into(),
            data: data.into(),
        },
        left_out: Box::default(),
    }
}

fn id_of(sent: &Sent) -> &str {
    match sent.content() {
        Content::Event { id, .. } => id,
        Content::Message { .. } => "",
    }
}

fn data_of(sent: &Sent) -> &str {
    match sent.content() {
        Content::Event { data, .. } => data,
        Content::Message { .. } => "",
    }
}

/// The data of what a client missed, and whether there is a gap.
fn missed(histories: &mut Histories, id: &str) -> (String, bool) {
    let missed = histories.missed(b"room", id, 0);
    let events = missed.events.iter().map(|event| data_of(event));
    (events.collect(), missed.has_gap)
}

/// A history of `most` events that got these.
fn with(most: usize, events: &[(&str, &str)]) -> Histories {
    let mut histories = histories();
    histories.keep(b"room", most, 0).expect("there is room");
    for (id, data) in events {
        histories.send(event("room", id, data), 0);
        histories.check_invariants();
    }
    histories
}

#[test]
fn a_client_gets_what_came_after_its_last_event() {
    let mut histories = with(10, &[("1", "a"), ("2", "b"), ("3", "c")]);
    assert_eq!(missed(&mut histories, "1"), ("bc".to_owned(), false));
    assert_eq!(missed(&mut histories, "3"), (String::new(), false));
    assert_eq!(missed(&mut histories, ""), ("abc".to_owned(), false));
}

#[test]
fn a_client_whose_event_is_not_kept_is_told_of_a_gap_and_gets_the_rest() {
    let mut histories = with(2, &[("1", "a"), ("2", "b"), ("3", "c"), ("4", "d")]);
    assert_eq!(missed(&mut histories, "1"), ("cd".to_owned(), true));
    assert_eq!(missed(&mut histories, "x"), ("cd".to_owned(), true));
    // The next one is the oldest that is kept.
    assert_eq!(missed(&mut histories, "2"), ("cd".to_owned(), false));
}

#[test]
fn a_group_that_keeps_fewer_events_forgets_the_oldest() {
    let mut histories = with(10, &[("1", "a"), ("2", "b"), ("3", "c")]);
    histories.keep(b"room", 1, 0).expect("there is room");
    histories.check_invariants();
    assert_eq!(missed(&mut histories, ""), ("c".to_owned(), false));
    assert_eq!(missed(&mut histories, "1"), ("c".to_owned(), true));
    histories.keep(b"room", 0, 0).expect("there is room");
    histories.check_invariants();
    assert!(histories.is_empty());
    assert_eq!(missed(&mut histories, "3"), (String::new(), true));
}

#[test]
fn an_event_with_the_id_of_a_kept_one_is_a_repetition() {
    let mut histories = with(10, &[("1", "a"), ("2", "b")]);
    assert!(histories.send(event("room", "1", "again"), 0).is_none());
    assert_eq!(missed(&mut histories, ""), ("ab".to_owned(), false));
    // Another group has ids of its own, and one that keeps nothing knows none.
    for _ in 0..2 {
        assert!(histories.send(event("other", "1", "a"), 0).is_some());
    }
}

#[test]
fn an_event_without_an_id_gets_one_only_where_it_is_kept() {
    let mut histories = with(10, &[("e-2", "a")]);
    let of = |histories: &mut Histories, group| {
        let sent = histories.send(event(group, "", "b"), 0).expect("it is new");
        id_of(&sent).to_owned()
    };
    // An app has taken the first choice.
    assert_eq!(of(&mut histories, "room"), "e-2-0");
    assert_eq!(of(&mut histories, "room"), "e-3");
    assert_eq!(of(&mut histories, "other"), "");
    assert_eq!(missed(&mut histories, "e-2-0"), ("b".to_owned(), false));
}

#[test]
fn a_history_ends_some_time_after_the_last_event_and_the_last_member() {
    let mut histories = with(10, &[("1", "a")]);
    histories.expire(1000);
    assert!(!histories.is_empty());
    histories.note_members(|group| group == b"room", 1000);
    histories.expire(2000);
    assert!(!histories.is_empty());
    histories.send(event("room", "2", "b"), 2500);
    histories.expire(3500);
    assert!(!histories.is_empty());
    histories.expire(3501);
    assert!(histories.is_empty());
    histories.check_invariants();
    assert_eq!(histories.held().load(Ordering::Relaxed), 0);
}

#[test]
fn the_group_without_an_event_for_longest_gives_way_first() {
    let mut histories = with(10, &[("1", "a")]);
    histories.keep(b"other", 10, 0).expect("there is room");
    histories.send(event("other", "1", "x"), 0);
    histories.send(event("other", "2", "y"), 0);
    histories.send(event("room", "2", "b"), 0);
    let bytes = histories.kept_bytes();
    histories.give_way(bytes - 1);
    histories.check_invariants();
    assert_eq!(missed(&mut histories, ""), ("ab".to_owned(), false));
    let other = histories.missed(b"other", "1", 0);
    assert!(other.has_gap && other.events.is_empty());
    // A client that had all of it has missed nothing.
    assert!(!histories.missed(b"other", "2", 0).has_gap);
}

#[test]
fn bytes_of_one_group_and_of_all_are_bounded() {
    let mut histories = histories();
    let data = "d".repeat(10_000);
    for group in 0..200 {
        let name = format!("{group}");
        histories
            .keep(name.as_bytes(), 100, 0)
            .expect("there is room");
        for _ in 0..20 {
            histories.send(event(&name, "", &data), 0);
            histories.check_invariants();
        }
        let kept = histories.missed(name.as_bytes(), "", 0).events.len();
        assert!((5..=6).contains(&kept), "{kept} events of 64 KiB");
    }
    assert!(histories.kept_bytes() > LIMITS.bytes / 2);
    // One that is larger than a group's part is sent, and not kept.
    let large = "d".repeat(100_000);
    let sent = histories
        .send(event("0", "", &large), 0)
        .expect("it is new");
    histories.check_invariants();
    assert!(histories.missed(b"0", "", 0).events.is_empty());
    assert!(!histories.missed(b"0", id_of(&sent), 0).has_gap);
}

#[test]
fn the_number_of_groups_and_of_events_is_bounded() {
    let mut histories = histories();
    for group in 0..MOST_GROUPS {
        let name = group.to_string();
        histories
            .keep(name.as_bytes(), 1, 0)
            .expect("there is room");
    }
    assert_eq!(histories.keep(b"more", 1, 0), Err(TooMany));
    assert_eq!(histories.keep(b"0", usize::MAX, 0), Ok(()));
    for _ in 0..MOST_EVENTS + 1 {
        let tiny = HistoryLimits {
            bytes: u64::MAX,
            ..LIMITS
        };
        histories.limits = tiny;
        histories.send(event("0", "", ""), 0);
    }
    assert_eq!(histories.missed(b"0", "", 0).events.len(), MOST_EVENTS);
}

/// A client, over all its sessions.
#[derive(Default)]
struct Client {
    /// The loop of its session, and the number up to which that one got events when it joined.
    session: Option<(usize, u64)>,
    last_id: String,
    /// How many events of the group it has seen, or has been told that it missed.
    place: usize,
    /// The next event may be any later one: it has just begun, or was notified of a gap.
    skips: bool,
    /// The number of the event that its last id is of.
    last_number: u64,
}

struct World {
    rng: Rng,
    histories: Histories,
    /// The numbers of all events of the group.
    log: Vec<u64>,
    queues: Vec<VecDeque<Arc<Sent>>>,
    clients: Vec<Client>,
    now: u64,
    /// The number of the last event before the group began to keep them.
    begun_after: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let loops = rng.usize(1..4);
        Self {
            histories: histories(),
            log: Vec::new(),
            queues: vec![VecDeque::new(); loops],
            clients: (0..4).map(|_| Client::default()).collect(),
            now: 0,
            begun_after: 0,
            rng,
        }
    }

    fn step(&mut self) {
        match self.rng.u8(0..100) {
            0..35 => self.send(),
            35..65 => {
                let at = self.rng.usize(0..self.queues.len());
                self.take(at);
            }
            65..80 => self.join(),
            80..90 => {
                let at = self.rng.usize(0..self.clients.len());
                self.clients[at].session = None;
            }
            90..96 => {
                if self.histories.is_empty() {
                    self.begun_after = self.histories.last;
                }
                let most = self.rng.usize(1..12);
                self.histories
                    .keep(b"room", most, self.now)
                    .expect("there is room");
            }
            96 => self.histories.keep(b"room", 0, self.now).expect("it ends"),
            97 => {
                self.now += self.rng.u64(0..700);
                self.histories.expire(self.now);
            }
            98 => self.histories.give_way(0),
            _ => {
                let number = self.rng.u64(..);
                self.histories
                    .send(event("other", &number.to_string(), ""), self.now);
            }
        }
        self.histories.check_invariants();
    }

    fn send(&mut self) {
        // Some repeat an event that is kept, which is nothing new.
        let kept = self.histories.missed(b"room", "", 0).events;
        let again = self.rng.choice(&kept).filter(|_| self.rng.u8(..) < 30);
        if let Some(again) = again {
            let repeated = event("room", id_of(again), "again");
            assert!(self.histories.send(repeated, self.now).is_none());
            return;
        }
        let own = self.rng.bool().then(|| format!("own {}", self.log.len()));
        let draft = event("room", &own.unwrap_or_default(), "");
        let sent = self.histories.send(draft, self.now).expect("it is new");
        self.log.push(sent.number());
        for queue in &mut self.queues {
            queue.push_back(sent.clone());
        }
    }

    /// A loop takes the next of its queue.
    fn take(&mut self, at: usize) {
        let Some(sent) = self.queues[at].pop_front() else {
            return;
        };
        for client in &mut self.clients {
            if let Some((here, after)) = client.session
                && here == at
                && sent.number() > after
            {
                client.get(&sent, &self.log);
            }
        }
    }

    /// A client opens a session.
    fn join(&mut self) {
        let at = self.rng.usize(0..self.clients.len());
        let (client, here) = (&mut self.clients[at], self.rng.usize(0..self.queues.len()));
        let missed = self.histories.missed(b"room", &client.last_id, 0);
        client.session = Some((here, missed.until));
        client.skips |= missed.has_gap || client.last_id.is_empty();
        if missed.has_gap {
            let first = missed.events.first().map(|sent| sent.number());
            let place = first.and_then(|first| self.log.binary_search(&first).ok());
            let is_foreign = client.last_number <= self.begun_after;
            let is_true = is_foreign || place.is_none_or(|place| place > client.place);
            assert!(is_true, "it was notified of a gap that is none");
        }
        for sent in &missed.events {
            client.get(sent, &self.log);
        }
    }
}

impl Client {
    fn get(&mut self, sent: &Sent, log: &[u64]) {
        let place = log.binary_search(&sent.number()).expect("it was sent");
        match std::mem::take(&mut self.skips) {
            true => assert!(place >= self.place, "it got an event again"),
            false => assert_eq!(place, self.place, "an event came twice, or never"),
        }
        self.place = place + 1;
        if !id_of(sent).is_empty() {
            id_of(sent).clone_into(&mut self.last_id);
            self.last_number = sent.number();
        }
    }
}

#[test]
fn every_client_gets_every_event_once_and_in_order_or_is_told_of_a_gap() {
    for seed in 0..WORLDS {
        let mut world = World::new(seed);
        let run = std::panic::AssertUnwindSafe(|| {
            for _ in 0..STEPS {
                world.step();
            }
            for at in 0..world.queues.len() {
                while !world.queues[at].is_empty() {
                    world.take(at);
                }
            }
            let here = world.clients.iter().filter(|it| it.session.is_some());
            for client in here.filter(|it| !it.skips) {
                assert_eq!(client.place, world.log.len(), "it waits for events");
            }
        });
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("the seed is {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// The same histories, as the next gateway has them.
fn moved(histories: &Histories) -> Histories {
    let kept = postcard::to_stdvec(&histories.keep_all()).expect("bytes");
    let mut next = Histories::new("another".to_owned(), LIMITS);
    assert!(next.take_up(postcard::from_bytes(&kept).expect("they are read")));
    next.check_invariants();
    next
}

#[test]
fn the_next_gateway_goes_on_with_all_of_it() {
    let before = with(3, &[("", "a"), ("mine", "b"), ("", "c"), ("", "d")]);
    let held = before.held().load(Ordering::Relaxed);
    let mut next = moved(&before);
    assert_eq!(next.held().load(Ordering::Relaxed), held);
    assert_eq!(missed(&mut next, "mine"), ("cd".to_owned(), false));
    // The first one is not kept, and nothing after it is missing.
    assert_eq!(missed(&mut next, "e-1"), ("bcd".to_owned(), false));
    assert_eq!(missed(&mut next, "unknown"), ("bcd".to_owned(), true));
    let sent = next.send(event("room", "", "e"), 0).expect("it is new");
    assert_eq!((sent.number(), id_of(&sent)), (5, "e-5"));
    assert!(next.send(event("room", "e-5", "e"), 0).is_none());
    assert!(next.send(event("room", "mine", "e"), 0).is_some());
}

#[test]
fn what_cannot_be_histories_is_not_taken() {
    let before = with(3, &[("", "a"), ("mine", "b"), ("", "c"), ("", "d")]);
    let bytes = postcard::to_stdvec(&before.keep_all()).expect("bytes");
    let mut rng = Rng::new();
    println!("seed {}", rng.get_seed());
    let mut refused = 0;
    for _ in 0..3000 {
        let mut garbled = bytes.clone();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(0..garbled.len());
            garbled[at] = [0, 1, 0xff, rng.u8(..)][rng.usize(0..4)];
        }
        let mut next = histories();
        let kept: Result<_, _> = postcard::from_bytes(&garbled);
        refused += u32::from(!kept.is_ok_and(|kept| next.take_up(kept)));
        next.check_invariants();
    }
    assert!(refused > 1000, "{refused}");
}
