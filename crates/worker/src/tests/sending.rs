//! What the app sends: room, watermarks, parts, credits.

use moorline_ipc::Header;

use super::fixture::{Harness, Seen};
use super::scripted::pattern;
use crate::control::Role;
use crate::wire::{DONE, FAILED, FIRST, FromProcess, LAST, PUSHED, ToProcess, WHOLE};

#[test]
fn a_full_session_makes_send_wait_until_it_is_drained() {
    let mut harness = Harness::start();
    harness.open(1);
    harness.give_kind(ToProcess::Full, 1);
    assert_eq!(harness.event(), "full true");
    harness.message(1, 1, "try 10");
    assert_eq!(harness.event(), "try Err(Full)");
    assert_eq!(harness.take(), Seen::done(1, 1, 6, 0));
    harness.message(1, 2, "push 10");
    assert_eq!(harness.event(), "push Ok(())");
    assert_eq!(harness.take().payload, pattern(10));
    harness.message(1, 3, "send 10");
    harness.open(2);
    assert!(harness.has_nothing());
    harness.give_kind(ToProcess::Drained, 1);
    assert_eq!(harness.event(), "drained false");
    assert_eq!(harness.event(), "sent Ok(())");
    assert_eq!(
        harness.take(),
        Seen {
            sequence: 3,
            time: 7,
            ..Seen::send(1, WHOLE | DONE, &pattern(10))
        }
    );
    harness.stop();
}

#[test]
fn while_the_gateway_holds_senders_those_that_can_wait_do_so() {
    let mut harness = Harness::start();
    harness.open(1);
    harness.open(2);
    harness.hold_senders();
    harness.message(1, 1, "send 10");
    harness.message(2, 1, "try 10");
    assert_eq!(harness.event(), "try Ok(())");
    assert_eq!(harness.take().session, 2);
    harness.open(3);
    assert!(harness.has_nothing());
    harness.release_senders();
    assert_eq!(harness.event(), "sent Ok(())");
    assert_eq!(harness.take().session, 1);
    harness.stop();
}

#[test]
fn a_loop_of_try_send_is_refused_once_the_gateway_has_said_that_a_session_is_full() {
    let mut harness = Harness::start();
    harness.open(1);
    harness.open(2);
    harness.message(1, 1, "insist");
    for _ in 0..100 {
        assert_eq!(harness.take().session, 1);
    }
    harness.hold_senders();
    let mut taken = 100;
    let insisted = loop {
        if let Some(event) = harness.event_now() {
            break event;
        }
        while !harness.has_nothing() {
            harness.take();
            taken += 1;
        }
    };
    let sent: u32 = insisted["insisted ".len()..].parse().expect("a number");
    assert!(
        (100..250).contains(&sent) && taken <= sent + 1,
        "{insisted}"
    );
    // Another session may be sent to.
    harness.message(2, 1, "try 10");
    assert_eq!(harness.event(), "try Ok(())");
    // The full one was another, so the app hears when it may go on.
    assert_eq!(harness.event_now(), None);
    harness.release_senders();
    assert_eq!(harness.event(), "drained false");
    harness.message(1, 2, "try 10");
    assert_eq!(harness.event(), "try Ok(())");
    harness.stop();
}

#[test]
fn a_refused_session_that_was_the_full_one_hears_once_when_it_has_drained() {
    let mut harness = Harness::start();
    harness.open(1);
    harness.message(1, 1, "insist");
    for _ in 0..100 {
        harness.take();
    }
    harness.hold_senders();
    while harness.event_now().is_none() {
        while !harness.has_nothing() {
            harness.take();
        }
    }
    harness.give_kind(ToProcess::Full, 1);
    assert_eq!(harness.event(), "full true");
    harness.release_senders();
    harness.give_kind(ToProcess::Drained, 1);
    assert_eq!(harness.event(), "drained false");
    harness.message(1, 2, "push 1");
    assert_eq!(harness.event(), "push Ok(())");
    harness.stop();
}

/// With two loops the records of one wait for the others', and a process may die before they are published.
#[test]
fn what_a_handler_has_sent_to_several_loops_counts_once_it_has_ended() {
    let config = super::fixture::config("test");
    let mut harness = Harness::launch(config, Role::Worker(0), 2);
    harness.report();
    let other = 1 << 48 | 2;
    harness.open(1);
    harness.open(other);
    harness.queue_message(1, 1, &format!("to {other:x} x"));
    harness.queue_message(1, 2, "block");
    harness.publish();
    assert_eq!(harness.event(), "to Ok(())");
    assert_eq!(harness.event(), "blocks");
    let size = format!("to {other:x} x").len() as u64;
    assert_eq!(harness.last_records(0), [Seen::done(1, 1, size, 0)]);
    assert_eq!(harness.last_records(1), [Seen::send(other, WHOLE, b"x")]);
    harness.open_gate();
    harness.stop();
}

/// What has no room is lost with the process.
#[test]
fn a_handler_has_not_ended_while_what_it_has_sent_to_another_loop_waits_for_room() {
    let config = super::fixture::config("test");
    let mut harness = Harness::launch(config, Role::Worker(0), 2);
    harness.report();
    let other = 1 << 48 | 2;
    harness.open(1);
    harness.open(other);
    harness.queue_message(1, 1, &format!("flood_to {other:x} 10000"));
    harness.queue_message(1, 2, "block");
    harness.publish();
    let pushed = harness.event();
    assert_eq!(harness.event(), "blocks");
    assert!(harness.last_records(0).is_empty());
    harness.open_gate();
    let pushed: u32 = pushed["pushed ".len()..].parse().expect("a number");
    for _ in 0..pushed {
        assert_eq!(harness.take_from(1).session, other);
    }
    harness.stop();
}

#[test]
fn a_message_larger_than_the_ring_arrives_whole_and_unmixed() {
    let mut harness = Harness::start();
    harness.open(1);
    harness.message(1, 1, "send 300000");
    harness.message(1, 2, "send 5");
    assert_eq!(harness.event(), "sent Ok(())");
    let mut whole = Vec::new();
    loop {
        let seen = harness.take();
        assert_eq!(seen.flags & FIRST != 0, whole.is_empty());
        whole.extend(seen.payload);
        if seen.flags & LAST != 0 {
            assert_eq!((seen.flags & DONE, seen.sequence), (DONE, 1));
            break;
        }
    }
    assert!(whole == pattern(300_000));
    assert_eq!(
        harness.take(),
        Seen {
            sequence: 2,
            time: 6,
            ..Seen::send(1, WHOLE | DONE, &pattern(5))
        }
    );
    harness.stop();
}

#[test]
fn a_full_ring_makes_send_wait_and_try_send_refuse() {
    let mut harness = Harness::start();
    harness.open(1);
    harness.open(2);
    let mut filled = 0;
    loop {
        filled += 1;
        harness.message(1, filled, "try 10000");
        if harness.event() == "try Err(Full)" {
            break;
        }
    }
    harness.message(1, filled + 1, "send 10000");
    harness.message(2, 1, "abandon 10000");
    assert_eq!(harness.event(), "abandoned true");
    for sequence in 1..filled {
        assert_eq!(
            harness.take(),
            Seen {
                sequence,
                time: 9,
                ..Seen::send(1, WHOLE | DONE, &pattern(10_000))
            }
        );
    }
    assert_eq!(harness.take(), Seen::done(1, filled, 9, 0));
    assert_eq!(harness.take(), Seen::done(2, 1, 13, 0));
    // The refused one is notified, too.
    let mut events = [harness.event(), harness.event()];
    events.sort();
    assert_eq!(events, ["drained false", "sent Ok(())"]);
    assert_eq!(harness.take().sequence, filled + 1);
    assert!(harness.has_nothing());
    harness.stop();
}

/// Three sessions, the first of which has sent until the ring was full, and how many messages it had got then.
fn with_a_full_ring() -> (Harness, u64) {
    let mut harness = Harness::start();
    for session in 1..=3 {
        harness.open(session);
    }
    let mut filled = 0;
    loop {
        filled += 1;
        harness.message(1, filled, "try 10000");
        if harness.event() == "try Err(Full)" {
            break;
        }
    }
    (harness, filled)
}

#[test]
fn sessions_that_a_full_ring_has_refused_hear_when_there_is_room_again() {
    let (mut harness, filled) = with_a_full_ring();
    for session in 2..=3 {
        harness.message(session, 1, "try 10000");
        assert_eq!(harness.event(), "try Err(Full)");
    }
    // Refused again before there is room, it is called once all the same.
    harness.message(1, filled + 1, "try 10000");
    assert_eq!(harness.event(), "try Err(Full)");
    assert_eq!(harness.event_now(), None);
    for sequence in 1..filled {
        assert_eq!(harness.take().sequence, sequence);
    }
    for _ in 1..=3 {
        assert_eq!(harness.event(), "drained false");
    }
    for session in 1..=3 {
        let sequence = if session == 1 { filled + 2 } else { 2 };
        harness.message(session, sequence, "try 10000");
        assert_eq!(harness.event(), "try Ok(())");
    }
    assert_eq!(harness.event_now(), None);
    harness.stop();
}

#[test]
fn a_sender_that_ignores_its_wake_up_keeps_no_other_waiting() {
    let (mut harness, filled) = with_a_full_ring();
    harness.message(1, filled + 1, "neglect 10000");
    assert_eq!(harness.event(), "neglected");
    harness.message(2, 1, "send 10000");
    harness.message(3, 1, "send 10000");
    // The first of them learns that its session is full; there is room then.
    harness.give_kind(ToProcess::Full, 2);
    assert_eq!(harness.event(), "full true");
    while harness.take().sequence < filled {}
    // Session 1 was refused, and is notified, too.
    let mut events = [harness.event(), harness.event()];
    events.sort();
    assert_eq!(events, ["drained false", "sent Ok(())"]);
    assert_eq!(harness.take().session, 3);
    harness.give_kind(ToProcess::Drained, 2);
    assert_eq!(harness.event(), "drained false");
    assert_eq!(harness.event(), "sent Ok(())");
    harness.message(3, 2, "release");
    harness.stop();
}

/// Else each would send a whole ring's worth before it hears that its session is full.
#[test]
fn handlers_that_send_without_end_take_turns() {
    const MESSAGES: u64 = 100;
    let mut harness = Harness::start();
    let mut left = [MESSAGES; 3];
    for session in 1..=3 {
        harness.open(session);
    }
    for session in 1..=3 {
        harness.message(session, 1, &format!("pour {MESSAGES} 10000"));
    }
    let mut then = None;
    while left != [0; 3] {
        let seen = harness.take();
        if seen.kind == FromProcess::Send as u8 {
            left[seen.session as usize - 1] -= 1;
        }
        if left.contains(&0) {
            then.get_or_insert(left);
        }
    }
    let most = then.into_iter().flatten().max();
    assert!(most < Some(MESSAGES / 4 * 3), "{then:?} when one was done");
    harness.stop();
}

#[test]
fn messages_too_large_or_for_a_closing_session_are_refused() {
    let mut harness = Harness::start();
    harness.open(1);
    harness.message(1, 1, "try 2000000");
    assert_eq!(
        harness.event(),
        "try Err(TooLarge { limit: FramingMax, size: 2000000, max: 1048576 })"
    );
    assert_eq!(harness.take().kind, FromProcess::Done as u8);
    harness.message(1, 2, "close");
    assert_eq!(harness.event(), "Ok(()) Err(Closing) Err(Closing)");
    assert_eq!(harness.take().kind, FromProcess::Close as u8);
    harness.stop();
}

#[test]
fn a_session_of_a_loop_that_does_not_exist_is_refused() {
    let mut harness = Harness::start();
    harness.open(1);
    harness.message(1, 1, &format!("to {:x} x", 63u64 << 48));
    assert_eq!(harness.event(), "to Err(NoSuchSession)");
    harness.stop();
}

#[test]
fn a_session_that_the_gateway_does_not_know_is_refused_from_then_on() {
    let mut harness = Harness::start();
    harness.open(1);
    harness.message(1, 1, "hold 5");
    harness.take();
    harness.message(1, 2, "held x");
    assert_eq!(harness.event(), "held Some(Ok(()))");
    assert_eq!(harness.take(), Seen::send(5, WHOLE, b"x"));
    harness.give_kind(ToProcess::Unknown, 5);
    harness.message(1, 3, "held x");
    assert_eq!(harness.event(), "held Some(Err(NoSuchSession))");
    harness.stop();
}

#[test]
fn pushed_messages_wait_in_order_up_to_a_bound() {
    let mut harness = Harness::start();
    harness.open(1);
    harness.message(1, 1, "flood 10000");
    // Six fit into the ring of 64 KiB, and while fewer bytes wait than that another one may.
    assert_eq!(harness.event(), "pushed 13");
    for _ in 0..12 {
        assert_eq!(
            harness.take(),
            Seen::send(1, WHOLE | PUSHED, &pattern(10_000))
        );
    }
    let last = harness.take();
    assert_eq!((last.flags, last.sequence), (WHOLE | PUSHED | DONE, 1));
    harness.message(1, 2, "echo on");
    assert_eq!(harness.take().payload, b"on");
    harness.stop();
}

#[test]
fn posts_need_credit_and_go_by_way_of_their_loop() {
    let mut harness = Harness::launch(super::fixture::config("test"), Role::Worker(0), 2);
    harness.report();
    harness.open(1);
    harness.message(1, 1, "posts 1 70");
    assert_eq!(harness.event(), "posted 64");
    let posts: Vec<Seen> = (0..64).map(|_| harness.take_from(1)).collect();
    for (number, post) in posts.iter().enumerate() {
        assert_eq!((post.kind, post.aux), (FromProcess::Post as u8, 1));
        assert_eq!(post.payload, number.to_string().into_bytes());
    }
    for post in &posts[..2] {
        harness.give_kind(ToProcess::PostDone, post.session);
    }
    harness.message(1, 2, "posts 1 3");
    assert_eq!(harness.event(), "posted 2");
    harness.stop();
}

#[test]
fn posts_to_oneself_and_from_others_are_handled() {
    let mut harness = Harness::start();
    harness.open(1);
    harness.message(1, 1, "posts 0 2");
    assert_eq!(harness.event(), "posted 2");
    assert_eq!(harness.event(), "post worker 0 0");
    assert_eq!(harness.event(), "post worker 0 1");
    assert_eq!(harness.take().kind, FromProcess::Done as u8);
    let header = Header {
        kind: ToProcess::Post as u8,
        aux: 1,
        session: 77,
        ..Header::default()
    };
    harness.give(
        Header {
            flags: FIRST,
            ..header
        },
        b"he",
    );
    harness.give(
        Header {
            flags: LAST,
            ..header
        },
        b"llo",
    );
    assert_eq!(harness.event(), "post worker 1 hello");
    let done = harness.take();
    assert_eq!(
        (done.kind, done.aux, done.session),
        (FromProcess::PostDone as u8, 1, 77)
    );
    harness.stop();
}

#[test]
fn a_task_is_given_out_and_its_result_comes_back_in_parts() {
    let mut harness = Harness::start();
    harness.open(1);
    harness.message(1, 1, "task sum");
    let task = harness.take();
    assert_eq!(
        (task.kind, task.flags, &task.payload[..]),
        (FromProcess::Task as u8, WHOLE, &b"sum"[..])
    );
    let header = Header {
        kind: ToProcess::TaskDone as u8,
        session: task.session,
        ..Header::default()
    };
    harness.give(
        Header {
            flags: FIRST,
            ..header
        },
        b"4",
    );
    harness.give(
        Header {
            flags: LAST,
            ..header
        },
        b"2",
    );
    assert_eq!(harness.event(), "task Ok(\"42\")");
    harness.stop();
}

#[test]
fn a_task_worker_answers() {
    let mut harness = Harness::launch(super::fixture::config("test"), Role::Task(0), 1);
    harness.report();
    let header = Header {
        kind: ToProcess::Task as u8,
        flags: WHOLE,
        session: 9,
        sequence: 1,
        ..Header::default()
    };
    harness.give(header, b"sum");
    let done = harness.take();
    assert_eq!(
        (done.kind, done.flags, &done.payload[..]),
        (FromProcess::TaskDone as u8, WHOLE, &b"sum done"[..])
    );
    harness.give(header, b"fail");
    let done = harness.take();
    assert_eq!(
        (done.session, done.flags, &done.payload[..]),
        (9, WHOLE | FAILED, &b"as told"[..])
    );
    harness.stop();
}
