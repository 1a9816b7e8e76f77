//! How long a busy loop gathers records before it publishes them.

/// Turns in a row that may end without publishing.
const MOST_TURNS: u32 = 16;
/// The time after which the next turn publishes, in nanoseconds: a few turns in a storm of connections take as long as
/// hundreds of others.
const LONGEST: u64 = 500_000;

/// The turns of a busy loop since it last published.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    turns: u32,
    /// When the first of them began, by the loop's clock.
    since: u64,
}

impl Gathering {
    /// A turn that began at this time ends. True: it need not publish.
    pub(crate) fn goes_on(&mut self, now: u64) -> bool {
        if self.turns == 0 {
            self.since = now;
        }
        self.turns += 1;
        self.turns <= MOST_TURNS && now - self.since < LONGEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_gathers_for_sixteen_turns_at_most() {
        let mut gathering = Gathering::default();
        let turns = (0..20).take_while(|_| gathering.goes_on(7)).count();
        assert_eq!(turns, 16);
    }

    #[test]
    fn long_turns_end_the_gathering_sooner() {
        let mut gathering = Gathering::default();
        assert!(gathering.goes_on(1_000_000));
        assert!(gathering.goes_on(1_400_000));
        assert!(!gathering.goes_on(1_500_000));
    }
}
