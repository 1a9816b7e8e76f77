//! The histories of groups: the last events of each, so that a session which comes back gets what its client missed.
//!
//! It decides and does nothing else: the time, and who sends what, are arguments. All loops of the gateway share it behind one
//! lock, so all events have one order. An event's number says where it stands in that order; no two have the same.

mod kept;
mod sent;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rustc_hash::FxHashMap;

pub(crate) use kept::KeptHistories;
pub(crate) use sent::Draft;
use sent::HeldBytes;
pub(crate) use sent::{Content, Sent};

/// Events that one group keeps at the most.
pub(crate) const MOST_EVENTS: usize = 10_000;
/// Groups that keep events at the most: each may have a long name, and is looked at from time to time.
const MOST_GROUPS: usize = 4096;
/// One group's part of the memory for histories: this many may be full.
const FULL_GROUPS: u64 = 16;
/// The memory of a history without its events and its group's name, in bytes, about.
const HISTORY_BYTES: usize = 384;

/// How much histories may hold, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HistoryLimits {
    /// Bytes of all histories.
    pub(crate) bytes: u64,
    /// A history ends this many milliseconds after its group's last event and last member.
    pub(crate) timeout: u64,
}

/// There are as many histories as there may be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

/// What a client missed.
#[derive(Debug, Default)]
pub(crate) struct Missed {
    /// Some of it is not kept (any more).
    pub(crate) has_gap: bool,
    /// The events that it gets now, oldest first.
    pub(crate) events: Vec<Arc<Sent>>,
    /// The number of the last event that was sent to any group. Later ones come by themselves.
    pub(crate) until: u64,
}

/// The histories of all groups.
#[derive(Debug)]
pub(crate) struct Histories {
    by_group: FxHashMap<Arc<[u8]>, History>,
    /// The groups that have events, by the number of their last one: the oldest give way first.
    by_age: BTreeMap<u64, Arc<[u8]>>,
    /// The number of the last event.
    last: u64,
    /// Begins the ids that are given here: what another gateway has given is unknown, not wrong.
    epoch: String,
    limits: HistoryLimits,
    /// Bytes of the events that are kept.
    kept_bytes: u64,
    /// Bytes of all events that are kept or under way, and of the histories themselves.
    held: Arc<AtomicU64>,
}

/// The last events of one group.
#[derive(Debug)]
struct History {
    most: usize,
    events: VecDeque<Arc<Sent>>,
    /// The number of each event that is kept, by its id. Ids come from outside, so the order of the map is not to be known.
    by_id: HashMap<Box<str>, u64>,
    bytes: u64,
    /// The id of the event before the oldest one that is kept: its receiver has missed nothing before that.
    before: Option<Box<str>>,
    /// When it was begun, when its group got its last event, or was last seen with members, in milliseconds.
    used_at: u64,
    _counted: HeldBytes,
}

impl Histories {
    pub(crate) fn new(epoch: String, limits: HistoryLimits) -> Self {
        Self {
            by_group: FxHashMap::default(),
            by_age: BTreeMap::new(),
            last: 0,
            epoch,
            limits,
            kept_bytes: 0,
            held: Arc::default(),
        }
    }

    /// Counts the bytes of events and histories.
    pub(crate) fn held(&self) -> &Arc<AtomicU64> {
        &self.held
    }

    /// Other limits apply from now on.
    pub(crate) fn change_limits(&mut self, limits: HistoryLimits, now: u64) {
        if limits.timeout != self.limits.timeout {
            // Loops have noted members by the old one.
            let histories = self.by_group.values_mut();
            histories.for_each(|history| history.used_at = now);
        }
        self.limits = limits;
        let groups: Vec<_> = self.by_group.keys().cloned().collect();
        groups.iter().for_each(|group| self.trim(group));
        self.give_way(self.limits.bytes);
    }

    /// Whether no group keeps its events.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_group.is_empty()
    }

    /// The number of the last event.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// How many groups keep events.
    pub(crate) fn len(&self) -> usize {
        self.by_group.len()
    }

    /// A group keeps its last `most` events from now on; with 0 none.
    ///
    /// # Errors
    /// There are too many groups that do.
    pub(crate) fn keep(&mut self, group: &[u8], most: usize, now: u64) -> Result<(), TooMany> {
        let most = most.min(MOST_EVENTS);
        if most == 0 {
            self.forget(group);
            return Ok(());
        }
        if let Some(history) = self.by_group.get_mut(group) {
            history.most = most;
            history.used_at = now;
            self.trim(group);
            return Ok(());
        }
        if self.by_group.len() >= MOST_GROUPS {
            return Err(TooMany);
        }
        let history = History {
            most,
            events: VecDeque::new(),
            by_id: HashMap::new(),
            bytes: 0,
            before: None,
            used_at: now,
            _counted: HeldBytes::new(HISTORY_BYTES + group.len(), &self.held),
        };
        self.by_group.insert(group.into(), history);
        Ok(())
    }

    /// Something is sent to a group: it gets its number, an event of a group that keeps them also its id. `None`: the group keeps
    /// an event of this id already, so this one is a repetition.
    pub(crate) fn send(&mut self, draft: Draft, now: u64) -> Option<Arc<Sent>> {
        let number = self.last + 1;
        let Draft {
            group,
            mut content,
            left_out,
        } = draft;
        let Content::Event { id, .. } = &mut content else {
            self.last = number;
            return Some(Sent::new(number, group, content, left_out, &self.held));
        };
        let Some((name, _)) = self.by_group.get_key_value(&*group) else {
            self.last = number;
            return Some(Sent::new(number, group, content, left_out, &self.held));
        };
        let name = name.clone();
        let history = self.by_group.get_mut(&name)?;
        if !id.is_empty() && history.by_id.contains_key(&**id) {
            return None;
        }
        if id.is_empty() {
            *id = history.free_id(&self.epoch, number);
        }
        let id = id.clone();
        let sent = Sent::new(number, group, content, left_out, &self.held);
        self.last = number;
        if let Some(last) = history.events.back() {
            self.by_age.remove(&last.number());
        }
        history.by_id.insert(id, number);
        history.events.push_back(sent.clone());
        history.bytes += sent.bytes() as u64;
        history.used_at = now;
        self.kept_bytes += sent.bytes() as u64;
        self.by_age.insert(number, name.clone());
        self.trim(&name);
        self.give_way(self.limits.bytes);
        Some(sent)
    }

    /// What a client missed of a group whose last event it got had this id. Without an id it has none, and gets all that is kept.
    pub(crate) fn missed(&mut self, group: &[u8], last_id: &str, now: u64) -> Missed {
        let until = self.last;
        let Some(history) = self.by_group.get_mut(group) else {
            return Missed {
                has_gap: !last_id.is_empty(),
                until,
                ..Missed::default()
            };
        };
        history.used_at = history.used_at.max(now);
        let known = history.by_id.get(last_id).copied();
        let from = known.map_or(0, |last| {
            history
                .events
                .partition_point(|event| event.number() <= last)
        });
        let is_whole =
            known.is_some() || last_id.is_empty() || history.before.as_deref() == Some(last_id);
        Missed {
            has_gap: !is_whole,
            events: history.events.range(from..).cloned().collect(),
            until,
        }
    }

    /// Some loop has members of these groups.
    pub(crate) fn note_members(&mut self, has_members: impl Fn(&[u8]) -> bool, now: u64) {
        for (group, history) in &mut self.by_group {
            if has_members(group) {
                history.used_at = now;
            }
        }
    }

    /// Ends the histories whose time is over.
    pub(crate) fn expire(&mut self, now: u64) {
        let timeout = self.limits.timeout;
        let histories = self.by_group.iter();
        let over = histories.filter(|(_, it)| now.saturating_sub(it.used_at) > timeout);
        let over: Vec<_> = over.map(|(group, _)| group.clone()).collect();
        for group in over {
            self.forget(&group);
        }
    }

    /// Forgets the events of the groups that have had none for longest, until all others hold no more than `bytes`.
    pub(crate) fn give_way(&mut self, bytes: u64) {
        while self.kept_bytes > bytes
            && let Some((_, group)) = self.by_age.pop_first()
        {
            if let Some(history) = self.by_group.get_mut(&group) {
                self.kept_bytes -= history.shrink_to(0, 0);
            }
        }
    }

    /// Bytes of the events that are kept.
    pub(crate) fn kept_bytes(&self) -> u64 {
        self.kept_bytes
    }

    /// A group has no more than its part.
    fn trim(&mut self, group: &[u8]) {
        let Some(history) = self.by_group.get_mut(group) else {
            return;
        };
        let newest = history.events.back().map(|event| event.number());
        self.kept_bytes -= history.shrink_to(history.most, self.limits.bytes / FULL_GROUPS);
        if let Some(newest) = newest
            && history.events.is_empty()
        {
            self.by_age.remove(&newest);
        }
    }

    fn forget(&mut self, group: &[u8]) {
        let Some(history) = self.by_group.remove(group) else {
            return;
        };
        self.kept_bytes -= history.bytes;
        if let Some(last) = history.events.back() {
            self.by_age.remove(&last.number());
        }
    }
}

impl History {
    /// Forgets the oldest events until there are at most `most`, of at most `bytes` bytes. Returns the bytes of those.
    fn shrink_to(&mut self, most: usize, bytes: u64) -> u64 {
        let before = self.bytes;
        while self.events.len() > most || self.bytes > bytes {
            let Some(event) = self.events.pop_front() else {
                break;
            };
            self.bytes -= event.bytes() as u64;
            if let Content::Event { id, .. } = event.content() {
                self.by_id.remove(id);
                self.before = Some(id.clone());
            }
        }
        before - self.bytes
    }

    /// An id for the event of this number, which no other event here has.
    fn free_id(&self, epoch: &str, number: u64) -> Box<str> {
        let id = format!("{epoch}-{number}");
        if !self.by_id.contains_key(id.as_str()) {
            return id.into();
        }
        // An app has given it to another event. It cannot have given as many as there are.
        let mut others = (0_u64..).map(|other| format!("{id}-{other}"));
        let free = others.find(|id| !self.by_id.contains_key(id.as_str()));
        free.unwrap_or(id).into()
    }
}

/// What must hold at any time.
#[cfg(test)]
impl Histories {
    /// # Panics
    /// It does not.
    pub(crate) fn check_invariants(&self) {
        let mut bytes = 0;
        for (group, history) in &self.by_group {
            let events = &history.events;
            let held: usize = events.iter().map(|event| event.bytes()).sum();
            assert_eq!(history.bytes, held as u64, "bytes of {group:?}");
            assert_eq!(history.by_id.len(), events.len(), "ids of {group:?}");
            assert!(events.len() <= history.most, "too many of {group:?}");
            let part = self.limits.bytes / FULL_GROUPS;
            assert!(history.bytes <= part, "{group:?} has more than its part");
            let newest = events.back().map(|event| event.number());
            let listed = newest.map(|newest| self.by_age.get(&newest) == Some(group));
            assert_ne!(listed, Some(false), "{group:?} is on no list");
            bytes += history.bytes;
        }
        let with_events = self.by_group.values().filter(|it| !it.events.is_empty());
        assert_eq!(self.by_age.len(), with_events.count(), "groups with events");
        assert_eq!(self.kept_bytes, bytes, "bytes of all");
        assert!(self.kept_bytes <= self.limits.bytes, "over the limit");
    }
}
