//! What a process says of itself, again and again, to all nodes.

use serde::{Deserialize, Serialize};

/// Rises when the fields change: what another version says is not understood.
const VERSION: u8 = 2;
/// More than any beat has: the other nodes take three bytes each at most.
const LONGEST: usize = 2048;
const LONGEST_NAME: usize = 64;
/// More slots than an engine has.
const MOST_SLOTS: u16 = 4096;
const MOST_NODES: u16 = 511;

/// What a beat means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BeatKind {
    /// The process wants to belong to the cluster, and asks everyone for a beat.
    Hello,
    /// It serves.
    Here,
    /// It is about to end: what is new goes to its successor.
    Leaving,
    /// It has ended.
    Bye,
}

/// What a process says of itself and its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// What it means.
    pub kind: BeatKind,
    /// The node's number.
    pub number: u16,
    /// The node's name.
    pub name: String,
    /// The engine: another one of the same node, started later, has a higher one.
    pub incarnation: u64,
    /// The process: no other has the same.
    pub process: u64,
    /// The worker slot that it serves.
    pub slot: u16,
    /// The deployment it belongs to.
    pub generation: u32,
    /// How many worker slots its engine has.
    pub slots: u16,
    /// The numbers of the other nodes that it knows: a new process of its own node waits until it knows them, too.
    pub others: Vec<u16>,
}

impl Beat {
    /// As it travels.
    pub fn encode(&self) -> Vec<u8> {
        // Plain values only: there is nothing in it that could fail to be written.
        let fields = postcard::to_stdvec(self).unwrap_or_default();
        [&[VERSION][..], &fields].concat()
    }

    /// What was written; `None` for anything that no honest process of this version writes.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, fields) = bytes.split_first()?;
        if *version != VERSION || bytes.len() > LONGEST {
            return None;
        }
        let (beat, rest) = postcard::take_from_bytes::<Self>(fields).ok()?;
        let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let has_name = !beat.name.is_empty()
            && beat.name.len() <= LONGEST_NAME
            && beat.name.chars().all(is_fit);
        let has_place = (1..=MOST_NODES).contains(&beat.number)
            && beat.slots <= MOST_SLOTS
            && beat.slot < beat.slots
            && beat.others.len() <= usize::from(MOST_NODES);
        (rest.is_empty() && has_name && has_place).then_some(beat)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn beat() -> Beat {
        Beat {
            kind: BeatKind::Here,
            number: 7,
            name: "a".to_owned(),
            incarnation: u64::MAX,
            process: 3,
            slot: 1,
            generation: 2,
            slots: 4,
            others: vec![1, 511],
        }
    }

    #[test]
    fn a_beat_is_read_back() {
        assert_eq!(Beat::decode(&beat().encode()), Some(beat()));
    }

    #[test]
    fn what_no_process_says_is_not_understood() {
        let change = |change: fn(&mut Beat)| {
            let mut beat = beat();
            change(&mut beat);
            beat.encode()
        };
        let mut other_version = beat().encode();
        other_version[0] = 1;
        let longer = [beat().encode(), vec![0]].concat();
        for bytes in [
            Vec::new(),
            other_version,
            longer,
            change(|beat| beat.number = 0),
            change(|beat| beat.number = 512),
            change(|beat| beat.slot = 4),
            change(|beat| beat.slots = 5000),
            change(|beat| beat.name = String::new()),
            change(|beat| beat.name = "x".repeat(65)),
            change(|beat| beat.name = "a b\n".to_owned()),
            change(|beat| beat.others = vec![1; 512]),
        ] {
            assert_eq!(Beat::decode(&bytes), None, "{bytes:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_read_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(beat) = Beat::decode(&bytes) {
                prop_assert!(beat.slot < beat.slots);
            }
        }
    }
}
