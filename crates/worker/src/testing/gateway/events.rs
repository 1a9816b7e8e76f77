//! Events of groups in a scripted engine, and those that groups keep.

use std::collections::{BTreeSet, VecDeque};

use super::requests::split_broadcast;
use super::{Gateway, header_of};
use crate::wire::ToProcess;
use crate::wire::event::split_event;

/// The last events of a group: their ids and data, oldest first.
#[derive(Default)]
pub(super) struct History {
    most: usize,
    events: VecDeque<Kept>,
}

struct Kept {
    id: String,
    data: Vec<u8>,
    left_out: BTreeSet<u64>,
}

impl Gateway {
    /// A group keeps its last events.
    pub(super) fn keep_events(&mut self, payload: &[u8]) {
        let Some((most, group)) = payload.split_first_chunk() else {
            return;
        };
        let most = u32::from_le_bytes(*most) as usize;
        if most == 0 {
            self.histories.remove(group);
            return;
        }
        let history = self.histories.entry(group.to_vec()).or_default();
        history.most = most;
        history.shrink();
    }

    /// A process sends an event to a group.
    pub(super) fn send_event(&mut self, from: u32, number: u64, payload: &[u8]) {
        let parts = split_broadcast(payload);
        let event = parts.and_then(|(group, left_out, rest)| {
            let (&loops, rest) = rest.split_first()?;
            let event = split_event(rest.get(usize::from(loops) * 8..)?)?;
            Some((group, left_out, event))
        });
        if let Some((group, left_out, event)) = event
            && self.keep_event(group, event.id, event.data, &left_out)
        {
            let members = self.groups.get(group).cloned().unwrap_or_default();
            for id in members.difference(&left_out) {
                self.show(from, *id, event.data.into());
            }
        }
        for kind in [ToProcess::EventTaken, ToProcess::BroadcastDone] {
            self.give(from, header_of(kind, number), Vec::new());
        }
    }

    /// Keeps an event, if its group keeps events. False: it keeps one with this id already.
    fn keep_event(&mut self, group: &[u8], id: &str, data: &str, left_out: &BTreeSet<u64>) -> bool {
        self.last_event += 1;
        let Some(history) = self.histories.get_mut(group) else {
            return true;
        };
        if !id.is_empty() && history.events.iter().any(|event| event.id == id) {
            return false;
        }
        let id = match id {
            "" => format!("scripted-{}", self.last_event),
            id => id.to_owned(),
        };
        history.events.push_back(Kept {
            id,
            data: data.into(),
            left_out: left_out.clone(),
        });
        history.shrink();
        true
    }

    /// A session joins a group, and gets what it missed. A scripted session is notified of no gaps.
    pub(super) fn join_after(&mut self, from: u32, id: u64, payload: &[u8]) {
        let parts = payload.split_first();
        let parts = parts.and_then(|(&length, rest)| rest.split_at_checked(usize::from(length)));
        let Some((group, last_id)) = parts else {
            return;
        };
        if !self.groups.entry(group.to_vec()).or_default().insert(id) {
            return;
        }
        let Some(history) = self.histories.get(group) else {
            return;
        };
        let mut known = history.events.iter();
        let known = known.rposition(|event| event.id.as_bytes() == last_id);
        let missed = history.events.iter().skip(known.map_or(0, |at| at + 1));
        let missed: Vec<_> = missed
            .filter(|event| !event.left_out.contains(&id))
            .map(|event| event.data.clone())
            .collect();
        for data in missed {
            self.show(from, id, data);
        }
    }
}

impl History {
    fn shrink(&mut self) {
        while self.events.len() > self.most {
            self.events.pop_front();
        }
    }
}
