//! The table of Maglev hashing ("Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, §3.4), with
//! weights.

use crate::peers::Peers;

/// A prime: every step through the table then visits all of it.
const PLACES: u64 = 65_537;

/// A place for each peer in turn, in an order of its own.
#[derive(Debug)]
pub(crate) struct Table {
    /// Places of peers; empty without peers.
    table: Vec<u32>,
}

/// How a peer goes through the table.
struct Walk {
    place: u32,
    next: u64,
    step: u64,
    weight: u64,
    /// The peer waits until the rounds, times its weight, have passed this.
    due: u64,
}

impl Table {
    pub(crate) fn new(peers: &Peers) -> Self {
        let mut walks: Vec<_> = peers.primaries.iter().map(|at| walk(peers, *at)).collect();
        let Some(heaviest) = walks.iter().map(|walk| walk.weight).max() else {
            return Self { table: Vec::new() };
        };
        let mut table = vec![u32::MAX; PLACES as usize];
        let mut left = table.len();
        for round in 1.. {
            for walk in &mut walks {
                if round * walk.weight < walk.due {
                    continue;
                }
                walk.due += heaviest;
                while table[walk.next as usize] != u32::MAX {
                    walk.next = (walk.next + walk.step) % PLACES;
                }
                table[walk.next as usize] = walk.place;
                left -= 1;
                if left == 0 {
                    return Self { table };
                }
            }
        }
        Self { table }
    }

    /// The peer of a hash.
    pub(super) fn place(&self, hash: u64) -> Option<usize> {
        let place = self.table.get((hash % PLACES) as usize)?;
        Some(*place as usize)
    }
}

fn walk(peers: &Peers, place: usize) -> Walk {
    let peer = peers.at(place);
    let name = peer.address.to_string();
    Walk {
        place: u32::try_from(place).unwrap_or(u32::MAX),
        next: hash(name.as_bytes(), 1) % PLACES,
        step: hash(name.as_bytes(), 2) % (PLACES - 1) + 1,
        weight: u64::from(peer.weight()),
        due: 0,
    }
}

/// FNV-1a (RFC 9923), mixed so that all its bits depend on all of the text; another one for each round.
pub(super) fn hash(text: &[u8], round: u32) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ u64::from(round).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let add = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let mut hash = text.iter().fold(start, add);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}
