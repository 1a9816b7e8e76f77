//! The ring of consistent hashing: 160 points for each weight of an entry. It is nginx's, and that of memcached clients in
//! Perl ("ketama").

use std::sync::Arc;

use super::crc::Crc;
use crate::members::Members;
use crate::peer;

const POINTS_OF_A_WEIGHT: u32 = 160;

/// Points in the order of their hashes, each of an entry. An entry has its points whatever its name means now.
#[derive(Debug)]
pub(crate) struct Ring {
    points: Vec<Point>,
    entries: Vec<Arc<str>>,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    hash: u32,
    /// Its place in the list of entries.
    entry: u32,
}

impl Ring {
    pub(crate) fn new(members: &Members) -> Self {
        let (mut points, mut entries) = (Vec::new(), Vec::new());
        for written in members.config.peers.iter().filter(|it| !it.is_backup) {
            let entry = peer::entry(written);
            let weight = match written.is_service() {
                // The weights of its servers are among themselves.
                true => written.weight,
                false => members.weight_of(&entry).unwrap_or(written.weight),
            };
            // Entries are at most as many as peers.
            let number = u32::try_from(entries.len()).unwrap_or(u32::MAX);
            add(&mut points, number, &entry, weight);
            entries.push(entry);
        }
        points.sort_by_key(|point| point.hash);
        points.dedup_by_key(|point| point.hash);
        Self { points, entries }
    }

    /// The place of the first point at or behind a hash.
    pub(super) fn point(&self, hash: u32) -> u32 {
        let at = self.points.partition_point(|point| point.hash < hash);
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// The entry of a point; places go round.
    pub(super) fn entry(&self, at: u32) -> Option<&Arc<str>> {
        let at = (at as usize).checked_rem(self.points.len())?;
        self.entries.get(self.points[at].entry as usize)
    }
}

/// Each point hashes the one before it.
fn add(points: &mut Vec<Point>, number: u32, entry: &str, weight: u32) {
    let (host, port) = match entry.rsplit_once(':') {
        // A path may have colons.
        Some((host, port)) if !entry.starts_with(['/', '@']) => (host, port),
        _ => (entry, ""),
    };
    let start = Crc::new()
        .with(host.as_bytes())
        .with(&[0])
        .with(port.as_bytes());
    let mut hash: u32 = 0;
    for _ in 0..weight.saturating_mul(POINTS_OF_A_WEIGHT) {
        hash = start.with(&hash.to_le_bytes()).sum();
        points.push(Point {
            hash,
            entry: number,
        });
    }
}
