//! A worker that misuses plain requests and the histories of groups harms only itself and those whose request it has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use moorline_tests::{Client, Engine, PATIENCE, Stopwatch, Wire, eventually};

use super::worker::{CONFIG, ORDINARY, Others, Scene};

const WEB: usize = 3;
/// Addresses of clients that are looked at until each worker has one of them.
const ADDRESSES: std::ops::Range<u8> = 1..60;
/// Requests that the hostile worker has when it begins.
const HELD: usize = 8;

/// A listener with requests to the app, which go to a worker by their client's address.
const WEB_LISTENER: &str = r#"
[[listen]]
name = "web"
address = "http://127.0.0.1:0"
dispatch = "ip-hash"
[[listen.route]]
path = "/app/*rest"
kind = "app"
"#;

/// A client of this address, and what it asks for.
fn ask(engine: &Engine, from: u8, target: &str, body: &str) -> Client {
    let mut client = Client::connect_from(engine, WEB, Wire::Raw, [127, 0, 0, from]);
    write_request(&mut client, target, body, "");
    client
}

fn write_request(client: &mut Client, target: &str, body: &str, lines: &str) {
    let length = body.len();
    let request = format!(
        "POST {target} HTTP/1.1\r\nHost: a.example\r\nContent-Length: {length}\r\n{lines}\r\n{body}"
    );
    client
        .send_bytes(request.as_bytes())
        .expect("the request is taken");
}

/// The body of an answer, and its status line before it.
fn answer(client: &mut Client) -> String {
    let head = client.receive_head().expect("an answer comes");
    let head = head.to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let body = client.receive_exactly(length.expect("the answer has a length"));
    let status = head.lines().next().unwrap_or_default();
    format!("{status} {}", String::from_utf8_lossy(&body))
}

/// Whether a client's requests go to the hostile worker.
fn is_for_hostile(engine: &Engine, from: u8) -> bool {
    answer(&mut ask(engine, from, "/app/x", "")) == "http/1.1 200 ok hostile"
}

/// Somebody whose requests the honest worker has, over one connection, and the hostile one's clients.
struct Visitors {
    busy: JoinHandle<()>,
    over: Arc<AtomicBool>,
    /// The longest that an answer took, in microseconds.
    longest: Arc<AtomicU64>,
    /// Their address.
    hostile: u8,
}

impl Visitors {
    fn come(engine: &Engine) -> Visitors {
        let mut addresses = ADDRESSES;
        let mut find = |wanted| {
            let found = addresses.find(|from| is_for_hostile(engine, *from) == wanted);
            found.expect("each worker has an address")
        };
        let (hostile, honest) = (find(true), find(false));
        let over = Arc::new(AtomicBool::new(false));
        let longest = Arc::new(AtomicU64::new(0));
        let mut client = ask(engine, honest, "/app/x?do=echo", "hello");
        let (until, slowest) = (over.clone(), longest.clone());
        let busy = thread::spawn(move || {
            let mut asked = Stopwatch::start();
            while !until.load(Ordering::Relaxed) {
                assert_eq!(answer(&mut client), "http/1.1 200 ok hello");
                slowest.fetch_max(asked.elapsed().as_micros() as u64, Ordering::Relaxed);
                asked = Stopwatch::start();
                write_request(&mut client, "/app/x?do=wait:2&do=echo", "hello", "");
            }
        });
        Visitors {
            busy,
            over,
            longest,
            hostile,
        }
    }

    /// The longest that an answer took since it was asked before.
    fn longest(&self) -> Duration {
        Duration::from_micros(self.longest.swap(0, Ordering::Relaxed))
    }

    /// Requests that the hostile worker has, and does not answer.
    fn held(&self, engine: &Engine) -> Vec<Client> {
        eventually("the hostile worker is back", || {
            is_for_hostile(engine, self.hostile)
        });
        let from = [127, 0, 0, self.hostile];
        let ask = |_| {
            let mut client = Client::connect_from(engine, WEB, Wire::Raw, from);
            write_request(&mut client, "/app/held", "", "Connection: close\r\n");
            client
        };
        (0..HELD).map(ask).collect()
    }
}

fn suffer(scene: &mut Scene, visitors: &Visitors, plan: &str) {
    let held = visitors.held(&scene.engine);
    scene.suffer(plan, Others::Stay);
    for mut client in held {
        // An answer, a part of one, or the end of the connection; but no silence, and no second answer.
        let begun = Instant::now();
        let said = client.receive_bytes_to_end();
        assert!(
            begun.elapsed() < PATIENCE,
            "{plan}: a client was told nothing"
        );
        let text = String::from_utf8_lossy(&said);
        let heads = text.matches("HTTP/1.1 ").count();
        assert!(heads <= 1, "{plan}: {heads} answers to one request");
    }
}

/// Has a worker do all this with its requests, one after the other.
fn suffer_all(plans: &[&str]) {
    let mut scene = Scene::set(&CONFIG.replace("[app]", &format!("{WEB_LISTENER}[app]")));
    let visitors = Visitors::come(&scene.engine);
    for plan in plans {
        // As for sessions: harm is done each time.
        let mut waits = Vec::new();
        while waits.last().is_none_or(|wait| *wait >= ORDINARY) {
            assert!(
                waits.len() < 3,
                "{plan}: three times an answer took {waits:?}"
            );
            suffer(&mut scene, &visitors, plan);
            waits.push(visitors.longest());
        }
    }
    visitors.over.store(true, Ordering::Relaxed);
    visitors
        .busy
        .join()
        .expect("requests of the honest worker are answered");
    eventually("no request is left", || {
        scene.engine.status().gateway.requests["in_progress"] == 0
    });
    scene.end();
}

#[test]
fn answers_in_a_wrong_order_harm_nobody() {
    suffer_all(&[
        "answer two-heads",
        "answer two-answers",
        "answer body-first",
        "answer body-last",
        "answer head-only",
        "answer failing-on",
        "answer failed-twice",
    ]);
}

#[test]
fn answers_of_another_length_than_they_say_harm_nobody() {
    suffer_all(&[
        "answer endless",
        "answer half",
        "answer longer",
        "answer shorter",
        "answer longest",
    ]);
}

#[test]
fn heads_of_answers_that_are_none_harm_nobody() {
    suffer_all(&[
        "answer no-head",
        "answer large-head",
        "answer split-head",
        "answer own-length",
        "answer chunks",
    ]);
}

#[test]
fn answers_to_requests_of_others_harm_nobody() {
    suffer_all(&["answer unasked", "answer foreign"]);
}

#[test]
fn nonsense_about_groups_that_keep_events_harms_nobody() {
    suffer_all(&[
        "group keep-nonsense",
        "group keep-many",
        "group keep-and-forget",
        "group events",
        "group events-nonsense",
        "group join-foreign",
        "group join-nonsense",
    ]);
}
