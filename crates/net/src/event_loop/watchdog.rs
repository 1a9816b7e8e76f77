//! Reports loops that one piece of work holds for too long.
//!
//! One thread asks every loop that is awake whether it still takes turns. It starts with the first loop to
//! be watched and ends after the last.

use std::fs;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::lock::lock;
use super::shared::LoopShared;

/// A stall is noticed at most this part of `stall_after` late.
const PRECISION: u32 = 4;
/// Shorter stalls do not matter, and looking for them would itself take time.
const SHORTEST_LOOK: Duration = Duration::from_millis(10);
/// A new loop is watched after at most this time, however patient the others are.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// The loops that the thread watches. `None`: there is no thread.
static WATCHED: Mutex<Option<Vec<Watched>>> = Mutex::new(None);

struct Watched {
    event_loop: Weak<LoopShared>,
    watch: LoopWatch,
}

/// Watches `event_loop` until it is gone.
///
/// # Errors
/// The system gives no thread.
pub(super) fn watch(event_loop: &Arc<LoopShared>, stall_after: Duration) -> io::Result<()> {
    let mut watched = lock(&WATCHED);
    if watched.is_none() {
        thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(run)?;
    }
    watched.get_or_insert_default().push(Watched {
        event_loop: Arc::downgrade(event_loop),
        watch: LoopWatch::new(stall_after),
    });
    Ok(())
}

fn run() {
    loop {
        let pause = {
            let mut watched = lock(&WATCHED);
            let Some(loops) = &mut *watched else {
                return;
            };
            loops.retain_mut(|watched| {
                let event_loop = watched.event_loop.upgrade();
                event_loop.is_some_and(|event_loop| look(&event_loop, &mut watched.watch))
            });
            let Some(shortest) = loops.iter().map(|watched| watched.watch.stall_after).min() else {
                *watched = None;
                return;
            };
            shortest / PRECISION
        };
        thread::sleep(pause.clamp(SHORTEST_LOOK, LONGEST_LOOK));
    }
}

/// Looks after one loop; false once it has ended.
fn look(event_loop: &LoopShared, watch: &mut LoopWatch) -> bool {
    if *lock(&event_loop.has_ended) {
        return false;
    }
    let asked = event_loop.asked.load(Ordering::Relaxed);
    let has_answered = event_loop.answered.load(Ordering::Relaxed) == asked;
    match watch.look(Instant::now(), has_answered, event_loop.load.is_awake()) {
        WatchVerdict::Fine => {}
        WatchVerdict::Ask => {
            event_loop.asked.store(asked + 1, Ordering::Relaxed);
            event_loop.wake.notify_one();
        }
        WatchVerdict::Stalled(held) => {
            event_loop.stalls.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                event_loop = %event_loop.name,
                held_ms = held.as_millis() as u64,
                state = %state_of(event_loop.thread),
                "an event loop is stalled by one task"
            );
        }
        WatchVerdict::Recovered(held) => tracing::warn!(
            event_loop = %event_loop.name,
            held_ms = held.as_millis() as u64,
            "an event loop is no longer stalled"
        ),
    }
    true
}

/// What the thread does, as the kernel sees it: whether it computes or blocks, and in what.
fn state_of(thread: rustix::thread::Pid) -> String {
    let folder = format!("/proc/self/task/{}", thread.as_raw_nonzero());
    let stat = fs::read_to_string(format!("{folder}/stat")).unwrap_or_default();
    // The name is in brackets and may hold anything.
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.trim_start().chars().next());
    match state {
        Some('R') => "running".to_owned(),
        Some(_) => match fs::read_to_string(format!("{folder}/wchan")) {
            Ok(place) if place.len() > 1 => format!("blocked in {place}"),
            _ => "blocked".to_owned(),
        },
        None => "unknown".to_owned(),
    }
}

/// What is known of one loop.
#[derive(Debug)]
struct LoopWatch {
    stall_after: Duration,
    phase: WatchPhase,
}

#[derive(Debug)]
enum WatchPhase {
    Idle,
    /// It was asked then and has not answered yet.
    Asked(Instant),
    /// As above, and that was reported.
    Reported(Instant),
}

#[derive(Debug, PartialEq, Eq)]
enum WatchVerdict {
    Fine,
    Ask,
    Stalled(Duration),
    Recovered(Duration),
}

impl LoopWatch {
    fn new(stall_after: Duration) -> Self {
        Self {
            stall_after,
            phase: WatchPhase::Idle,
        }
    }

    fn look(&mut self, now: Instant, has_answered: bool, is_awake: bool) -> WatchVerdict {
        let held = |since| now.saturating_duration_since(since);
        match self.phase {
            WatchPhase::Reported(since) if has_answered => {
                self.phase = WatchPhase::Idle;
                WatchVerdict::Recovered(held(since))
            }
            WatchPhase::Asked(since) if !has_answered => {
                if held(since) < self.stall_after {
                    return WatchVerdict::Fine;
                }
                self.phase = WatchPhase::Reported(since);
                WatchVerdict::Stalled(held(since))
            }
            WatchPhase::Reported(_) => WatchVerdict::Fine,
            // Asking wakes it, so that a loop that sleeps is let sleep.
            WatchPhase::Idle | WatchPhase::Asked(_) if is_awake => {
                self.phase = WatchPhase::Asked(now);
                WatchVerdict::Ask
            }
            WatchPhase::Idle | WatchPhase::Asked(_) => {
                self.phase = WatchPhase::Idle;
                WatchVerdict::Fine
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_stall_is_reported_once_and_its_end_too() {
        let start = Instant::now();
        let mut watch = LoopWatch::new(2 * S);
        assert_eq!(watch.look(start, true, true), WatchVerdict::Ask);
        assert_eq!(watch.look(start + S, false, true), WatchVerdict::Fine);
        let stalled = WatchVerdict::Stalled(2 * S);
        assert_eq!(watch.look(start + 2 * S, false, true), stalled);
        assert_eq!(watch.look(start + 9 * S, false, true), WatchVerdict::Fine);
        let recovered = WatchVerdict::Recovered(10 * S);
        assert_eq!(watch.look(start + 10 * S, true, true), recovered);
        assert_eq!(watch.look(start + 11 * S, true, true), WatchVerdict::Ask);
    }

    #[test]
    fn a_busy_loop_that_takes_turns_is_fine() {
        let start = Instant::now();
        let mut watch = LoopWatch::new(S);
        for second in 0..100 {
            assert_eq!(
                watch.look(start + second * S, true, true),
                WatchVerdict::Ask
            );
        }
    }

    #[test]
    fn a_loop_that_sleeps_is_not_woken() {
        let mut watch = LoopWatch::new(S);
        assert_eq!(watch.look(Instant::now(), true, false), WatchVerdict::Fine);
        assert_eq!(watch.look(Instant::now(), true, true), WatchVerdict::Ask);
        assert_eq!(watch.look(Instant::now(), true, false), WatchVerdict::Fine);
    }
}
