//! The least load, by connections or by time.

use fastrand::Rng;
use moorline_config::Load;

use super::Sight;
use super::hash::MOST_MISSES;

impl Sight<'_> {
    /// The usable peer with the least load for its weight; of several, each in turn. By connections the choices are those
    /// of nginx.
    pub(super) fn least(&mut self, load: Load) -> Option<usize> {
        let usual = self.usual(load);
        let costs = |sight: &Self, place| (sight.cost(place, load, usual), sight.weight(place));
        let (mut best, mut are_several) = (None, false);
        for place in self.group() {
            if !self.is_usable(*place) {
                continue;
            }
            let (cost, weight) = costs(self, *place);
            match best {
                Some((_, of_best, its_weight))
                    if cost * u128::from(its_weight) >= of_best * u128::from(weight) =>
                {
                    are_several |= cost * u128::from(its_weight) == of_best * u128::from(weight);
                }
                _ => {
                    best = Some((*place, cost, weight));
                    are_several = false;
                }
            }
        }
        let (first, of_best, its_weight) = best?;
        if !are_several {
            return Some(first);
        }
        let least = move |sight: &Self, place| {
            let (cost, weight) = costs(sight, place);
            cost * u128::from(its_weight) == of_best * u128::from(weight)
        };
        self.smooth(least)
    }

    /// Of two random peers the one with less load for its weight. Heavier ones are drawn more often.
    pub(super) fn random_two(&mut self, load: Load, rng: &mut Rng) -> Option<usize> {
        let weights = self
            .group()
            .iter()
            .map(|at| u64::from(self.peers.at(*at).weight()));
        let total: u64 = weights.sum();
        let usual = self.usual(load);
        let mut first: Option<usize> = None;
        while self.group().len() > 1 && self.attempts.draws <= MOST_MISSES {
            let place = self.numbered(rng.u64(..total))?;
            if first == Some(place) || !self.is_usable(place) {
                self.attempts.draws += 1;
                continue;
            }
            let Some(first) = first else {
                first = Some(place);
                continue;
            };
            let costs = |place| (self.cost(place, load, usual), self.weight(place));
            let ((cost, weight), (of_first, its_weight)) = (costs(place), costs(first));
            let is_more = cost * u128::from(its_weight) > of_first * u128::from(weight);
            return Some(if is_more { first } else { place });
        }
        self.smooth(|_, _| true)
    }

    /// The peer whose share of all weights has this number.
    pub(super) fn numbered(&self, mut number: u64) -> Option<usize> {
        for place in self.group() {
            let weight = u64::from(self.peers.at(*place).weight());
            match number.checked_sub(weight) {
                Some(rest) => number = rest,
                None => return Some(*place),
            }
        }
        None
    }

    /// What a peer's weight is set against.
    fn cost(&self, place: usize, load: Load, usual: u64) -> u128 {
        let peer = self.peers.at(place);
        match load {
            Load::Connections => u128::from(peer.open),
            Load::Time(time) => {
                let micros = peer.times.of(time).micros(self.now).unwrap_or(usual);
                u128::from(micros) * (u128::from(peer.open) + 1)
            }
        }
    }

    /// The time of a peer of which none was measured yet, in microseconds: the least of the others, so that it gets some
    /// connections and not all.
    fn usual(&self, load: Load) -> u64 {
        let Load::Time(time) = load else {
            return 1;
        };
        let places = self.group().iter();
        let times = places.filter_map(|at| self.peers.at(*at).times.of(time).micros(self.now));
        times.min().unwrap_or(1)
    }
}
