//! An engine that does not exist, and moves: for a first look, for pictures and for tests.

use std::time::Duration;

use moorline_engine::control::{SessionRow, UpstreamSeen};
use serde_json::{Value, json};

use super::sample::Sample;

/// Looks after which everything comes again.
const ROUND: u64 = 60;

/// Its state, which depends on nothing but the number of looks.
#[derive(Debug, Default)]
pub(super) struct Demo {
    looks: u64,
    messages: u64,
    relayed: u64,
}

impl Demo {
    pub(super) fn look(&mut self) -> Sample {
        self.looks += 1;
        let wave = wave(self.looks);
        self.messages += 4000 + 30 * wave;
        self.relayed += (20 + wave) << 16;
        Sample::new(self.status(wave), self.upstreams(), sessions(wave))
    }

    /// A worker does not answer for the last third of each round.
    fn is_ill(&self) -> bool {
        self.looks % ROUND > 2 * ROUND / 3
    }

    fn status(&self, wave: u64) -> Value {
        let ill_for = (self.looks % ROUND).saturating_sub(2 * ROUND / 3);
        let workers = (0..4).map(|slot: u64| {
            let is_ill = slot == 2 && self.is_ill();
            json!({
                "slot": slot, "pid": 4003 + slot, "generation": 7, "leader": slot == 0,
                "state": if is_ill { "not answering" } else { "ready" },
                "silent_ms": is_ill.then_some(ill_for * 1000 + 2000),
                "waiting": is_ill.then_some(3 + ill_for),
                "handled": self.messages / 4 + slot, "in_progress": (wave + 7 * slot) % 23,
                "sessions": 300 + wave, "memory_bytes": (40 + 3 * slot) << 20,
            })
        });
        json!({
            "supervisor": { "pid": 4001, "started_at": 1_760_000_000_u64, "uptime_s": 86_400 + self.looks },
            "gateway": {
                "pid": 4002, "loops": 2, "sessions": 1200 + 4 * wave, "accepted": 90_000 + 5 * self.looks,
                "messages": self.messages, "buffered_bytes": (3 + wave / 8) << 20, "memory_limit": 1_u64 << 30,
                "held": { "queued": (2 + wave / 8) << 20, "tls": 1 << 20 },
                "closed": { "peer": 88_000 + self.looks, "idle": 211, "slow": 4 },
                "relays": { "open": 12, "begun": 400 + self.looks, "failed": 1, "bytes_up": self.relayed / 3, "bytes_down": self.relayed },
            },
            "workers": workers.collect::<Vec<_>>(),
            "listeners": [
                { "name": "chat", "address": "tcp://0.0.0.0:9501", "kind": "websocket", "state": "accepting",
                    "sessions": 1188 + 4 * wave, "received": 80 * self.messages, "sent": 900 * self.messages },
                { "name": "db", "address": "tcp://127.0.0.1:3306", "kind": "relay", "state": "accepting",
                    "sessions": 12, "received": self.relayed / 3, "sent": self.relayed },
            ],
            "upgrades": { "done": 1, "failed": 0, "last_pause_ms": 3.8 },
            "reloads": { "done": 6, "failed": 0, "last": { "result": "done", "ago_s": 3600 + self.looks, "generation": 7 } },
        })
    }

    fn upstreams(&self) -> Vec<UpstreamSeen> {
        let peer = |at: u64, failure: Option<(&str, Duration)>| {
            json!({
                "address": format!("10.0.0.{at}:3306"), "entry": null, "state": "up", "is_backup": at == 3, "weight": 1,
                "warmth": 100, "open": 4, "max_connections": null, "connections": 130 + self.looks / 3, "failures": at / 3,
                "last_failure": failure, "connect_time": Duration::from_micros(300 * at),
            })
        };
        let failure = Some(("connection refused", Duration::from_secs(3000)));
        let db = json!({
            "name": "db", "balance": "round-robin", "unresolved": [],
            "peers": [peer(1, None), peer(2, None), peer(3, failure)],
        });
        // What is written here is an upstream: a test says so.
        serde_json::from_value(db).into_iter().collect()
    }
}

fn sessions(wave: u64) -> Vec<SessionRow> {
    let rows = (1..=20_u64).filter_map(|at| {
        let row = json!({
            "id": format!("{at:016x}"), "listener": "chat", "peer": format!("192.0.2.{at}:50{at:03}"), "label": format!("player {at}"),
            "worker": at % 4, "age_s": 60 * at, "idle_s": (wave + at) % 30, "messages": 10 * at, "received": 900 * at,
            "sent": 70_000 * at, "queued": if at == 7 { (wave + 1) << 14 } else { 0 }, "relay": null,
        });
        serde_json::from_value(row).ok()
    });
    rows.collect()
}

/// Up and down between 0 and 40.
fn wave(looks: u64) -> u64 {
    let at = looks % 40;
    let slope = at.min(40 - at);
    slope + slope * slope / 20
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_moves_and_is_sometimes_ill() {
        let mut demo = Demo::default();
        let looks: Vec<_> = (0..2 * ROUND).map(|_| demo.look()).collect();
        assert_eq!((looks[0].upstreams.len(), looks[0].sessions.len()), (1, 20));
        assert_eq!(looks[0].findings, []);
        assert!(looks.iter().any(|it| it.findings.len() == 1));
        let sessions = |at: usize| looks[at].number("/gateway/sessions");
        assert_ne!(sessions(0), sessions(10));
    }
}
