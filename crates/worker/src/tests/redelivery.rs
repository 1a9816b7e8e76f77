//! Messages that a gateway delivers again, because their handler failed and their listener says `redeliver`.

use moorline_ipc::Header;

use super::fixture::{Harness, Seen};
use crate::config::OnCrash;
use crate::control::ProcessCounter;
use crate::wire::{CloseReason, DONE, FAILED, FIRST, LAST, ToProcess, WHOLE};

fn answer(sequence: u64, size: u64, text: &str) -> Seen {
    Seen {
        sequence,
        time: size,
        ..Seen::send(1, WHOLE | DONE, text.as_bytes())
    }
}

#[test]
fn messages_behind_a_failed_one_are_skipped_until_that_one_comes_again() {
    let mut harness = Harness::start_with(OnCrash::Redeliver);
    harness.open(1);
    harness.open(2);
    harness.queue_message(1, 1, "echo a");
    harness.queue_message(1, 2, "panic");
    harness.queue_message(1, 3, "echo too early");
    harness.queue_message(2, 1, "echo other");
    harness.publish();
    assert_eq!(harness.take(), answer(1, 6, "a"));
    assert_eq!(harness.take(), Seen::done(1, 2, 5, FAILED));
    assert_eq!(harness.take().payload, b"other");
    harness.queue_message(1, 4, "echo too early");
    for (sequence, text) in [(2, "b"), (3, "c"), (4, "d")] {
        harness.queue_message(1, sequence, &format!("echo {text}"));
    }
    harness.publish();
    for (sequence, text) in [(2, "b"), (3, "c"), (4, "d")] {
        assert_eq!(harness.take(), answer(sequence, 6, text));
    }
    harness.stop();
    assert_eq!(harness.counter(ProcessCounter::Discarded), 0);
    assert_eq!(harness.counter(ProcessCounter::Handled), 6);
}

#[test]
fn messages_that_waited_behind_a_failed_one_are_dropped() {
    let mut harness = Harness::start_with(OnCrash::Redeliver);
    harness.open(1);
    harness.open(2);
    harness.queue_message(1, 1, "doom");
    harness.queue_message(1, 2, "echo too early");
    let part = Header {
        kind: ToProcess::Message as u8,
        session: 1,
        sequence: 3,
        ..Header::default()
    };
    harness.queue(
        Header {
            flags: FIRST,
            ..part
        },
        b"echo ",
    );
    harness.publish();
    assert_eq!(harness.event(), "doomed");
    harness.message(2, 1, "release");
    assert_eq!(harness.take(), Seen::done(2, 1, 7, 0));
    assert_eq!(harness.take(), Seen::done(1, 1, 4, FAILED));
    harness.queue(
        Header {
            flags: LAST,
            ..part
        },
        b"too early",
    );
    harness.queue_message(1, 1, "echo a");
    harness.queue_message(1, 2, "echo b");
    harness.queue(
        Header {
            flags: FIRST,
            ..part
        },
        b"echo ",
    );
    harness.queue(
        Header {
            flags: LAST,
            ..part
        },
        b"c",
    );
    harness.publish();
    for (sequence, text) in [(1, "a"), (2, "b"), (3, "c")] {
        assert_eq!(harness.take(), answer(sequence, 6, text));
    }
    harness.stop();
}

#[test]
fn a_failed_message_may_come_again_in_parts_and_fail_again() {
    let mut harness = Harness::start_with(OnCrash::Redeliver);
    harness.open(1);
    harness.message(1, 1, "panic");
    assert_eq!(harness.take(), Seen::done(1, 1, 5, FAILED));
    let part = Header {
        kind: ToProcess::Message as u8,
        session: 1,
        sequence: 1,
        ..Header::default()
    };
    harness.queue(
        Header {
            flags: FIRST,
            ..part
        },
        b"pa",
    );
    harness.queue(
        Header {
            flags: LAST,
            ..part
        },
        b"nic",
    );
    harness.queue_message(1, 2, "echo too early");
    harness.publish();
    assert_eq!(harness.take(), Seen::done(1, 1, 5, FAILED));
    harness.message(1, 1, "echo a");
    assert_eq!(harness.take(), answer(1, 6, "a"));
    harness.stop();
}

#[test]
fn a_session_that_is_closed_or_moves_waits_for_no_message() {
    let mut harness = Harness::start_with(OnCrash::Redeliver);
    harness.open(1);
    harness.queue_message(1, 1, "hold 1");
    harness.queue_message(1, 2, "panic");
    harness.queue_message(1, 3, "echo too early");
    harness.publish();
    assert_eq!(harness.take(), Seen::done(1, 1, 6, 0));
    assert_eq!(harness.take(), Seen::done(1, 2, 5, FAILED));
    // To another process and back; the app has a handle to it all the time.
    harness.give_kind(ToProcess::Moved, 1);
    harness.open(1);
    harness.message(1, 9, "echo i");
    assert_eq!(harness.take(), answer(9, 6, "i"));
    harness.message(1, 10, "panic");
    assert_eq!(harness.take(), Seen::done(1, 10, 5, FAILED));
    harness.close(1, CloseReason::Crash);
    assert_eq!(harness.event(), "close 1 crash Err(Closed)");
    harness.stop();
    assert_eq!(harness.counter(ProcessCounter::Sessions), 0);
}
