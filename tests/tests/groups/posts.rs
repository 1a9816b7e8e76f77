//! Posts to workers: their bound, and their fate when processes change.

use std::sync::atomic::{AtomicBool, Ordering};

use moorline_tests::{Client, Engine, LENGTH_LISTENER, Wire, eventually};
use nix::sys::signal::Signal;

fn probe() -> Engine {
    let config = format!(
        "[workers]\ncount = 2\n[tasks]\ncount = 1\n{LENGTH_LISTENER}on_crash = \"drop\"\n[app]\njournal = \"{{folder}}/journal\"\n"
    );
    Engine::start("probe", &config)
}

/// A client that the worker in this slot serves. Those before it stay until it is found: one that has left makes its worker
/// the one with the fewest sessions again.
fn client_of(engine: &Engine, slot: u64) -> Client {
    let mut others = Vec::new();
    while others.len() < 100 {
        let mut client = Client::connect(engine, 0, Wire::LENGTH);
        if client.ask_number("slot") == slot {
            return client;
        }
        others.push(client);
    }
    panic!("sessions are spread over the workers");
}

/// 64 posts to a slot, or 1 MiB of them, may be unhandled; all of those are handled, in order, and make room again.
#[test]
fn posts_beyond_the_bound_are_refused_and_those_before_arrive_in_order() {
    let engine = probe();
    let mut client = client_of(&engine, 0);
    for round in 0..3 {
        for to in [0, 1] {
            let expected: Vec<String> = (0..64).map(|number| number.to_string()).collect();
            assert_eq!(fill(&mut client, to, 0, 64), expected, "round {round}");
        }
    }
    // Three of 300,000 bytes, and the fourth would be over 1 MiB.
    let posts = fill(&mut client, 1, 300_000, 3);
    assert!(posts.iter().all(|post| post.len() > 300_000));
}

/// Has posts sent to a slot until one is refused, and returns them: as many as are allowed, once there is credit for all.
/// That comes back by another loop than the messages before, and may be later than they are.
fn fill(client: &mut Client, to: u16, size: usize, allowed: usize) -> Vec<String> {
    for _ in 0..100 {
        client.send(format!("post-fill {to} {size}"));
        let (mut posts, mut sent) = (Vec::new(), None);
        while sent.is_none_or(|sent| posts.len() < sent) {
            let answer = String::from_utf8(client.receive()).expect("it is text");
            match answer.strip_suffix(" Full") {
                Some(count) => sent = Some(count.parse().expect("a number")),
                None => {
                    let post = answer.strip_suffix(&format!(" from 0 in {to}"));
                    posts.push(post.expect("it is from worker 0").to_owned());
                }
            }
        }
        if posts.len() >= allowed {
            assert_eq!(posts.len(), allowed);
            return posts;
        }
    }
    panic!("there is never credit for {allowed} posts");
}

/// A task worker posts to workers.
#[test]
fn a_task_can_post() {
    let engine = probe();
    let mut client = client_of(&engine, 1);
    let id = client.ask("id");
    assert_eq!(
        client.ask(format!("task-detach post {id} hello")),
        "detached"
    );
    assert_eq!(client.receive(), b"hello from task worker 0 in 0");
}

/// A post that waits gets room: more posts than may be unhandled arrive, in order, at another worker and at the same one.
#[test]
fn a_post_that_waits_is_never_refused() {
    let engine = probe();
    let mut client = client_of(&engine, 0);
    for to in [1, 0] {
        client.send(format!("post-all {to} 2048"));
        let (mut number, mut is_posted) = (0, false);
        while number < 2048 || !is_posted {
            let answer = String::from_utf8(client.receive()).expect("it is text");
            if answer == "posted" {
                is_posted = true;
                continue;
            }
            assert_eq!(answer, format!("{number} from 0 in {to}"));
            number += 1;
        }
    }
}

/// A reload takes nobody's posts: each arrives once, in order, at the old process or the new one.
#[test]
fn posts_to_a_worker_that_is_replaced_arrive_in_order() {
    let engine = probe();
    let mut client = client_of(&engine, 0);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut number = 0;
            while !is_over.load(Ordering::Relaxed) {
                for ahead in 0..8 {
                    client.send(format!("post 1 {}", number + ahead));
                }
                for _ in 0..8 {
                    let arrived = String::from_utf8(client.receive()).expect("it is text");
                    assert_eq!(arrived, format!("{number} from 0 in 1"));
                    number += 1;
                }
            }
            number
        });
        for _ in 0..3 {
            engine.reload().expect_success();
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(load.join().expect("all posts have arrived") > 0);
    });
}

/// What a process has not taken when it dies is for its successor.
#[test]
fn posts_to_a_worker_that_dies_wait_for_its_successor() {
    let engine = probe();
    let mut client = client_of(&engine, 0);
    let mut busy = client_of(&engine, 1);
    busy.send("block 60000");
    eventually("the worker is blocked", || {
        engine.worker(1).in_progress == 1
    });
    assert_eq!(client.ask("post-fill 1 0"), "64 Full");
    assert_eq!(client.ask("post 1 one more"), "Full");
    let dead = engine.kill_worker(1, Signal::SIGKILL);
    for number in 0..64 {
        let arrived = String::from_utf8(client.receive()).expect("it is text");
        assert_eq!(arrived, format!("{number} from 0 in 1"));
    }
    eventually("there is room again", || {
        client.ask("post 1 again") == "again from 0 in 1"
    });
    assert_ne!(engine.worker(1).pid, dead);
}

/// The one that kills its worker is lost with it, and the room it took is not.
#[test]
fn a_post_that_kills_its_worker_is_not_handed_out_again() {
    let engine = probe();
    let mut client = client_of(&engine, 0);
    for deaths in 1..=2 {
        client.send("post 1 crash");
        eventually("it has died", || {
            engine.status().errors.worker_exits == deaths
        });
        assert_eq!(client.ask("post 1 again"), "again from 0 in 1");
    }
    assert_eq!(engine.settled().errors.worker_exits, 2);
}
