//! Time that a test may blame on the engine.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Two threads that send one byte to each other and back, and sleep. What a round takes beyond this, the machine has lost.
const ORDINARY_ROUND: Duration = Duration::from_millis(5);
/// The threads' rest between two rounds.
const REST: Duration = Duration::from_millis(2);

/// Measures time without what this machine lost meanwhile, because it ran nobody who was ready to run: other tests and other machines
/// on the same processor may take it for hundreds of milliseconds.
///
/// The first one starts the two threads that watch the machine, which run until the process ends.
#[derive(Debug)]
pub struct Stopwatch {
    begun: Instant,
    lost: Duration,
}

impl Stopwatch {
    pub fn start() -> Self {
        let lost = Machine::this().lost();
        Self {
            begun: Instant::now(),
            lost,
        }
    }

    /// Never more than the time on the clock.
    pub fn elapsed(&self) -> Duration {
        let elapsed = self.begun.elapsed();
        elapsed.saturating_sub(Machine::this().lost().saturating_sub(self.lost))
    }
}

/// What the two threads have seen.
#[derive(Debug)]
struct Machine(Mutex<Seen>);

#[derive(Debug)]
struct Seen {
    round_begun: Instant,
    lost: Duration,
}

impl Seen {
    fn lost_until(&self, now: Instant) -> Duration {
        let round = now.saturating_duration_since(self.round_begun);
        self.lost + round.saturating_sub(ORDINARY_ROUND)
    }
}

impl Machine {
    fn this() -> &'static Machine {
        static MACHINE: OnceLock<Machine> = OnceLock::new();
        static WATCH: OnceLock<()> = OnceLock::new();
        let machine = MACHINE.get_or_init(|| {
            Machine(Mutex::new(Seen {
                round_begun: Instant::now(),
                lost: Duration::ZERO,
            }))
        });
        WATCH.get_or_init(|| machine.watch());
        machine
    }

    fn lost(&self) -> Duration {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.lost_until(Instant::now())
    }

    fn watch(&'static self) {
        let (mut asks, mut answers) = UnixStream::pair().expect("there are sockets");
        thread::spawn(move || {
            let mut byte = [0];
            while answers.read_exact(&mut byte).is_ok() && answers.write_all(&byte).is_ok() {}
        });
        thread::spawn(move || {
            let mut byte = [0];
            while asks.write_all(&byte).is_ok() && asks.read_exact(&mut byte).is_ok() {
                thread::sleep(REST);
                self.next_round();
            }
        });
    }

    fn next_round(&self) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        seen.lost = seen.lost_until(now);
        seen.round_begun = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_a_round_takes_beyond_the_ordinary_is_lost_also_before_it_ends() {
        let begun = Instant::now();
        let mut seen = Seen {
            round_begun: begun,
            lost: Duration::from_millis(7),
        };
        let after = |millis| begun + Duration::from_millis(millis);
        assert_eq!(seen.lost_until(after(5)), Duration::from_millis(7));
        assert_eq!(seen.lost_until(after(105)), Duration::from_millis(107));
        seen.round_begun = after(105);
        assert_eq!(seen.lost_until(after(100)), Duration::from_millis(7));
    }

    #[test]
    fn a_stopwatch_never_runs_fast() {
        let clock = Instant::now();
        let stopwatch = Stopwatch::start();
        thread::sleep(Duration::from_millis(50));
        assert!(stopwatch.elapsed() <= clock.elapsed());
    }
}
