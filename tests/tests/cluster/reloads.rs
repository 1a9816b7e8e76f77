//! Reloads and crashes of workers while other nodes send.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use moorline_tests::Nats;
use nix::sys::signal::Signal;

use crate::fixture::{on_each_worker, session, three};

#[test]
fn a_reload_of_either_side_loses_doubles_and_reorders_nothing() {
    let nats = Nats::start("");
    let [a, b, _c] = three(&nats);
    let senders = on_each_worker(&a);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let chains = senders.map(|mut sender| {
            let (mut receiver, id) = session(&b);
            let done = &done;
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    sender.send(format!("count-to {id} 500"));
                    for number in 1..=500 {
                        assert_eq!(receiver.receive(), number.to_string().as_bytes());
                    }
                    assert_eq!(sender.receive(), b"refused 0");
                }
            })
        });
        for _ in 0..3 {
            b.reload().expect_success();
            a.reload().expect_success();
        }
        done.store(true, Ordering::Relaxed);
        for chain in chains {
            chain.join().expect("the order holds");
        }
    });
}

#[test]
fn a_worker_that_dies_is_followed_by_another_and_nothing_comes_twice_or_late() {
    let nats = Nats::start("");
    let [a, b, _c] = three(&nats);
    let (mut receiver, id) = session(&b);
    let (mut sender, _) = session(&a);
    sender.send(format!("count-to {id} 30000"));
    let mut last = 0;
    let mut next = || -> u32 {
        let number = receiver.receive();
        String::from_utf8_lossy(&number).parse().expect("a number")
    };
    while last < 3000 {
        last = next();
    }
    // One of them is the one that the session's messages go through. The session itself may be of the other.
    b.kill_worker(0, Signal::SIGKILL);
    b.kill_worker(1, Signal::SIGKILL);
    while last < 30_000 {
        let number = next();
        assert!(number > last, "{number} after {last}");
        last = number;
    }
    assert!(sender.receive().starts_with(b"refused"));
}
