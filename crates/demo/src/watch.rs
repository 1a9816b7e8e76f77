//! Looks at the engine from time to time, and tells what has changed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::engine::status;
use crate::events::Events;
use crate::site::Site;

/// How often it looks.
const PAUSE: Duration = Duration::from_millis(200);

/// The last state of the engine.
#[derive(Debug, Default)]
pub(crate) struct EngineState(Mutex<Value>);

impl EngineState {
    pub(crate) fn last(&self) -> Value {
        self.0.lock().unwrap_or_else(|it| it.into_inner()).clone()
    }
}

/// Looks until what this returns is dropped.
pub(crate) fn start(site: &Arc<Site>, events: &Arc<Events>) -> Arc<EngineState> {
    let state = Arc::new(EngineState::default());
    let (run_dir, events) = (site.run_dir(), Arc::clone(events));
    let kept = Arc::downgrade(&state);
    let look = move || {
        let mut before = Workers::default();
        while let Some(state) = Weak::upgrade(&kept) {
            if let Some(now) = status(&run_dir) {
                let workers = workers(&now);
                for text in changes(&before, &workers) {
                    events.add(text);
                }
                before = workers;
                *state.0.lock().unwrap_or_else(|it| it.into_inner()) = now;
            }
            drop(state);
            thread::sleep(PAUSE);
        }
    };
    let named = thread::Builder::new().name("watch".to_owned());
    if let Err(error) = named.spawn(look) {
        // The page shows nothing of the engine then, and says so.
        eprintln!("the engine is not watched: {error}");
    }
    state
}

/// The processes that serve slots, by their numbers in the system.
type Workers = BTreeMap<u64, Worker>;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Worker {
    slot: u64,
    state: String,
    generation: u64,
}

fn workers(status: &Value) -> Workers {
    let rows = status["workers"].as_array().into_iter().flatten();
    let living = rows.filter_map(|row| {
        let worker = Worker {
            slot: row["slot"].as_u64()?,
            state: row["state"].as_str()?.to_owned(),
            generation: row["generation"].as_u64()?,
        };
        Some((row["pid"].as_u64()?, worker))
    });
    living.collect()
}

/// What is different, for people.
fn changes(before: &Workers, now: &Workers) -> Vec<String> {
    let mut texts = Vec::new();
    for (pid, worker) in before {
        if !now.contains_key(pid) {
            let slot = worker.slot;
            texts.push(match &*worker.state {
                "draining" => {
                    format!("worker {slot} (pid {pid}) has ended: the next one has taken over")
                }
                _ => format!("worker {slot} (pid {pid}) is gone"),
            });
        }
    }
    for (pid, worker) in now {
        let earlier = before.get(pid).map(|it| &*it.state);
        let Worker {
            slot,
            state,
            generation,
        } = worker;
        match (earlier, &**state) {
            (earlier, now) if earlier == Some(now) => {}
            (_, "not answering") => {
                texts.push(format!("found: worker {slot} (pid {pid}) does not answer"))
            }
            (Some("not answering"), "ready") => {
                texts.push(format!("worker {slot} (pid {pid}) answers again"))
            }
            (None | Some("starting"), "ready") if !before.is_empty() => {
                texts.push(format!(
                    "worker {slot} (pid {pid}, generation {generation}) serves"
                ));
            }
            _ => {}
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn changes_of_workers_are_told() {
        let status = |rows: &[(u64, u64, &str)]| {
            let rows = rows.iter().map(|(slot, pid, state)| json!({ "slot": slot, "pid": pid, "state": state, "generation": 1 }));
            workers(&json!({ "workers": rows.collect::<Vec<_>>() }))
        };
        let first = status(&[(0, 10, "ready"), (1, 11, "ready")]);
        assert_eq!(changes(&Workers::new(), &first), Vec::<String>::new());
        let frozen = status(&[(0, 10, "not answering"), (1, 11, "ready")]);
        assert_eq!(
            changes(&first, &frozen),
            ["found: worker 0 (pid 10) does not answer"]
        );
        assert_eq!(
            changes(&frozen, &first),
            ["worker 0 (pid 10) answers again"]
        );
        let next = status(&[(0, 12, "ready"), (1, 11, "draining")]);
        assert_eq!(
            changes(&frozen, &next),
            [
                "worker 0 (pid 10) is gone",
                "worker 0 (pid 12, generation 1) serves"
            ]
        );
        let last = status(&[(0, 12, "ready")]);
        assert_eq!(
            changes(&next, &last),
            ["worker 1 (pid 11) has ended: the next one has taken over"]
        );
    }
}
