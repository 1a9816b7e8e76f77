//! A worker's life: start, another gateway, the end.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use super::fixture::{Harness, Seen, config};
use super::scripted::ILL_FATED;
use crate::control::{FromRole, ProcessCounter, Role, ToRole};
use crate::log;
use crate::wire::{CloseReason, ERRED, FromProcess};

#[test]
fn an_app_that_does_not_start_says_why() {
    let mut harness = Harness::launch(config("refuses"), Role::Worker(0), 1);
    let reason = match harness.report() {
        Some(FromRole::Failed { reason }) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(reason, "no database");
    assert!(harness.end().is_err());
}

#[test]
fn a_stop_waits_for_handlers_and_timers_and_publishes_what_they_sent() {
    let mut harness = Harness::start();
    harness.open(1);
    harness.open(2);
    harness.message(2, 1, "timer");
    harness.take();
    harness.message(1, 1, "wait last words");
    assert_eq!(harness.event(), "waits last words");
    harness.tell(&ToRole::Stop {
        over_ms: 0,
        max_wait_ms: 20_000,
    });
    assert_eq!(harness.event(), "stop");
    assert_eq!(harness.event(), "timer");
    harness.message(2, 2, "release");
    harness.end().unwrap();
    harness.take();
    assert_eq!(harness.take().payload, b"last words");
    assert_eq!(harness.counter(ProcessCounter::InProgress), 0);
}

#[test]
fn a_stop_ends_at_its_deadline_even_with_messages_in_progress() {
    let mut harness = Harness::start();
    harness.open(1);
    harness.message(1, 1, "wait for ever");
    assert_eq!(harness.event(), "waits for ever");
    harness.tell(&ToRole::Stop {
        over_ms: 0,
        max_wait_ms: 50,
    });
    harness.end().unwrap();
    assert_eq!(harness.event(), "stop");
}

/// Room comes only when it serves, and it serves only when its start has ended.
#[test]
fn neither_start_nor_what_it_has_spawned_waits_for_room() {
    let mut harness = Harness::launch(config("waits"), Role::Worker(0), 1);
    assert!(matches!(harness.report(), Some(FromRole::Ready)));
    assert_eq!(harness.event(), "64 posts NotServing 64 tasks NotServing");
    assert_eq!(harness.event(), "Err(NotServing) Err(NotServing)");
    harness.stop();
}

#[test]
fn a_stop_takes_the_records_in_the_rings_before_the_stop_hook_runs() {
    let mut harness = Harness::start();
    harness.open(1);
    harness.open(2);
    harness.queue_message(1, 1, "echo goodbye");
    harness.queue_close(2, CloseReason::Stopped);
    harness.publish_silently();
    harness.stop();
    assert_eq!(harness.event(), "close 2 stopped Err(Closed)");
    assert_eq!(harness.event(), "stop");
    assert_eq!(harness.take().payload, b"goodbye");
}

#[test]
fn a_term_is_the_supervisors_business() {
    let mut harness = Harness::start();
    for _ in 0..2 {
        kill_process(getpid(), Signal::TERM).unwrap();
        harness.open(1);
        harness.message(1, 1, "echo still here");
        assert_eq!(harness.take().payload, b"still here");
        harness.close(1, CloseReason::Peer);
        harness.event();
    }
    assert!(matches!(harness.report(), Some(FromRole::Stopping)));
    harness.stop();
    assert!(harness.report().is_none());
}

#[test]
fn a_repeated_timer_survives_its_panics_and_ends_with_its_handle() {
    let mut harness = Harness::start();
    harness.open(1);
    harness.message(1, 1, "every");
    for _ in 0..3 {
        assert_eq!(harness.event(), "tick");
    }
    harness.message(1, 2, "clear");
    harness.take();
    harness.take();
    harness.stop();
    assert!(harness.counter(ProcessCounter::Failures) >= 3);
}

#[test]
fn a_stop_ends_a_repeated_timer() {
    let mut harness = Harness::start();
    harness.open(1);
    harness.message(1, 1, "every");
    assert_eq!(harness.event(), "tick");
    harness.stop();
}

#[test]
fn a_hook_that_fails_at_either_end_of_a_session_harms_nothing_else() {
    let mut harness = Harness::start();
    harness.open(ILL_FATED);
    let close = harness.take();
    let kind = FromProcess::Close as u8;
    assert_eq!(
        (close.kind, close.flags, close.session),
        (kind, ERRED, ILL_FATED)
    );
    // It was on its way when the session was closed.
    harness.message(ILL_FATED, 1, "release");
    assert_eq!(harness.take(), Seen::done(ILL_FATED, 1, 7, 0));
    harness.close(ILL_FATED, CloseReason::Server);
    assert!(harness.event().starts_with("close"));
    harness.open(1);
    harness.message(1, 1, "echo still here");
    assert_eq!(harness.take().payload, b"still here");
    harness.stop();
    assert_eq!(harness.counter(ProcessCounter::Failures), 1);
    assert_eq!(harness.counter(ProcessCounter::CloseFailures), 1);
    assert_eq!(harness.counter(ProcessCounter::InProgress), 0);
}

#[test]
fn the_region_names_the_session_whose_handler_is_polled() {
    let mut harness = Harness::start();
    harness.open(1);
    harness.message(1, 1, "block");
    assert_eq!(harness.event(), "blocks");
    assert_eq!(harness.polling(), 1);
    harness.open_gate();
    harness.take();
    assert_eq!(harness.polling(), 0);
    harness.message(1, 2, "panic");
    harness.take();
    assert_eq!(harness.polling(), 0);
    harness.stop();
}

#[test]
fn a_worker_logs_to_the_file_that_it_is_given() {
    let mut harness = Harness::start();
    let flush = log::init(&config("test").engine.log, "test", None).unwrap();
    let path = std::env::temp_dir().join(format!("moorline-worker-log-{}", std::process::id()));
    let file = std::fs::File::create(&path).unwrap();
    harness.tell_with(&ToRole::ReopenLog, &[file.as_fd()]);
    // By the time the next order is followed, so was this one.
    harness.stop();
    tracing::error!("to the new file");
    drop(flush);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(text.contains("to the new file"), "{text}");
}

#[test]
fn another_gateway_closes_every_session_and_serves_new_ones() {
    let mut harness = Harness::start();
    harness.open(1);
    harness.message(1, 1, "wait x");
    assert_eq!(harness.event(), "waits x");
    harness.replace_gateway();
    harness.open(2);
    harness.message(2, 1, "release");
    assert_eq!(harness.take().session, 2);
    assert_eq!(
        harness.event(),
        format!("close 1 {} Err(Closed)", CloseReason::GatewayLost)
    );
    harness.message(2, 2, "echo on");
    assert_eq!(harness.take().payload, b"on");
    harness.stop();
    assert_eq!(harness.counter(ProcessCounter::Sessions), 1);
}

#[test]
fn a_worker_whose_supervisor_is_gone_ends_with_its_last_session() {
    let mut harness = Harness::start();
    harness.open(1);
    harness.supervisor_dies();
    harness.message(1, 1, "echo still here");
    assert_eq!(harness.take().payload, b"still here");
    let before = std::time::Instant::now();
    harness.close(1, CloseReason::Stopped);
    harness.end().unwrap();
    assert!(before.elapsed() < Duration::from_secs(5));
    assert_eq!(harness.event(), "close 1 stopped Err(Closed)");
    assert_eq!(harness.event(), "stop");
}
