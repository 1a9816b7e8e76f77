//! The histories of a gateway on their way to the next one.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use moorline_protocol::wire::event::LONGEST_EVENT_ID;
use moorline_protocol::wire::{LONGEST_NAME, MOST_LEFT_OUT};
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use super::sent::{Content, HeldBytes, Sent};
use super::{HISTORY_BYTES, Histories, History, MOST_EVENTS, MOST_GROUPS};

/// The histories of all groups.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KeptHistories {
    last: u64,
    epoch: String,
    groups: Vec<KeptHistory>,
}

/// The last events of one group, oldest first.
#[derive(Debug, Serialize, Deserialize)]
struct KeptHistory {
    #[serde(with = "crate::kept::bytes")]
    group: Vec<u8>,
    most: usize,
    events: Vec<KeptEvent>,
    before: Option<String>,
    used_at: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptEvent {
    number: u64,
    id: String,
    name: String,
    data: String,
    left_out: Vec<u64>,
}

impl Histories {
    /// What the next gateway must know of them.
    pub(crate) fn keep_all(&self) -> KeptHistories {
        let groups = self.by_group.iter();
        KeptHistories {
            last: self.last,
            epoch: self.epoch.clone(),
            groups: groups
                .map(|(group, history)| history.keep_as(group))
                .collect(),
        }
    }

    /// Goes on with those of another gateway, within its own limits. Ids go on, too. False: they cannot be, and nothing is
    /// changed.
    #[must_use]
    pub(crate) fn take_up(&mut self, kept: KeptHistories) -> bool {
        let mut taken = Self {
            last: kept.last,
            epoch: kept.epoch,
            held: self.held.clone(),
            ..Self::new(String::new(), self.limits)
        };
        let mut numbers = FxHashSet::default();
        let are_sound = kept.groups.len() <= MOST_GROUPS
            && kept.groups.into_iter().all(|history| {
                let its = history.events.iter().map(|event| event.number);
                let are_new = its.clone().all(|number| numbers.insert(number));
                are_new && its.max() <= Some(taken.last) && taken.take_up_group(history)
            });
        if !are_sound {
            return false;
        }
        let groups: Vec<_> = taken.by_group.keys().cloned().collect();
        groups.iter().for_each(|group| taken.trim(group));
        taken.give_way(taken.limits.bytes);
        *self = taken;
        true
    }

    fn take_up_group(&mut self, kept: KeptHistory) -> bool {
        let is_sound = kept.group.len() <= LONGEST_NAME
            && (1..=MOST_EVENTS).contains(&kept.most)
            && kept.events.len() <= MOST_EVENTS
            && kept
                .events
                .is_sorted_by(|one, next| one.number < next.number)
            && kept.events.iter().all(KeptEvent::is_sound);
        if !is_sound {
            return false;
        }
        let name: Arc<[u8]> = kept.group.into();
        let (mut events, mut by_id) = (VecDeque::new(), HashMap::new());
        for event in kept.events {
            by_id.insert(event.id.clone().into(), event.number);
            events.push_back(event.send_to(&name, self));
        }
        if by_id.len() != events.len() {
            return false;
        }
        let bytes = events.iter().map(|event| event.bytes() as u64).sum();
        if let Some(newest) = events.back() {
            self.by_age.insert(newest.number(), name.clone());
        }
        self.kept_bytes += bytes;
        let history = History {
            most: kept.most,
            events,
            by_id,
            bytes,
            before: kept.before.map(Into::into),
            used_at: kept.used_at,
            _counted: HeldBytes::new(HISTORY_BYTES + name.len(), &self.held),
        };
        self.by_group.insert(name, history).is_none()
    }
}

impl History {
    fn keep_as(&self, group: &[u8]) -> KeptHistory {
        let events = self.events.iter();
        KeptHistory {
            group: group.to_vec(),
            most: self.most,
            events: events.filter_map(|sent| KeptEvent::of(sent)).collect(),
            before: self.before.as_deref().map(str::to_owned),
            used_at: self.used_at,
        }
    }
}

impl KeptEvent {
    /// Histories have only events.
    fn of(sent: &Sent) -> Option<Self> {
        let Content::Event { id, name, data } = sent.content() else {
            return None;
        };
        Some(Self {
            number: sent.number(),
            id: id.to_string(),
            name: name.to_string(),
            data: data.to_string(),
            left_out: sent.left_out().to_vec(),
        })
    }

    fn is_sound(&self) -> bool {
        !self.id.is_empty()
            && self.id.len() <= LONGEST_EVENT_ID
            && self.left_out.len() <= MOST_LEFT_OUT
            && self.left_out.is_sorted()
    }

    fn send_to(self, group: &Arc<[u8]>, histories: &Histories) -> Arc<Sent> {
        let content = Content::Event {
            id: self.id.into(),
            name: self.name.into(),
            data: self.data.into(),
        };
        let left_out = self.left_out.into();
        Sent::new(
            self.number,
            (**group).into(),
            content,
            left_out,
            &histories.held,
        )
    }
}
