//! When each of many sessions is closed, so that their clients do not all come back in the same moment.

use std::time::Duration;

use fastrand::Rng;

/// The closing of a number of sessions, spread over a time.
#[derive(Debug)]
pub(crate) struct Pace {
    /// In the loop's milliseconds.
    begun: u64,
    over_ms: u64,
    seed: u64,
}

impl Pace {
    /// A pace from now on, over this time. The same seed gives the same moments.
    pub(crate) fn new(now_ms: u64, over: Duration, seed: u64) -> Self {
        Self {
            begun: now_ms,
            over_ms: over.as_millis() as u64,
            seed,
        }
    }

    /// Puts sessions into the order in which they close. It differs from the order in which they came, which neighbours
    /// share.
    pub(crate) fn shuffle<T>(&self, sessions: &mut [T]) {
        Rng::with_seed(self.seed).shuffle(sessions);
    }

    /// When number `at` of `count` closes, in the loop's milliseconds: each has an equal part of the time, and closes at
    /// a random moment in it.
    pub(crate) fn due(&self, at: usize, count: usize) -> u64 {
        let mut random = Rng::with_seed(self.seed ^ (at as u64 + 1).rotate_left(32));
        let part = (at as f64 + random.f64()) / count.max(1) as f64;
        self.begun + (self.over_ms as f64 * part) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVER: Duration = Duration::from_secs(30);

    #[test]
    fn closings_are_in_order_within_the_time_and_nowhere_crowded() {
        for seed in 0..100 {
            let pace = Pace::new(500, OVER, seed);
            let due: Vec<_> = (0..300).map(|at| pace.due(at, 300)).collect();
            assert!(due.is_sorted(), "seed {seed}: {due:?}");
            assert!(due[0] >= 500 && due[299] <= 30_500, "seed {seed}");
            for second in 0..30 {
                let begin = 500 + second * 1000;
                let count = due
                    .iter()
                    .filter(|at| (begin..begin + 1000).contains(*at))
                    .count();
                assert!(
                    (9..=11).contains(&count),
                    "seed {seed}: {count} in one second"
                );
            }
        }
    }

    #[test]
    fn a_seed_makes_the_moments_and_the_order() {
        let moments = |seed| -> Vec<_> {
            let pace = Pace::new(0, OVER, seed);
            let mut order: Vec<_> = (0..50).collect();
            pace.shuffle(&mut order);
            order
                .into_iter()
                .map(|session| (session, pace.due(session, 50)))
                .collect()
        };
        assert_eq!(moments(7), moments(7));
        assert_ne!(moments(7), moments(8));
    }

    #[test]
    fn without_a_time_all_close_at_once() {
        let pace = Pace::new(40, Duration::ZERO, 1);
        assert!((0..10).all(|at| pace.due(at, 10) == 40));
    }
}
