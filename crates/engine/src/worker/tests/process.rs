//! A worker's life: start, another gateway, the end.

use std::time::Duration;

use super::fixture::{Harness, config};
use crate::control::{FromRole, ProcessCounter, Role, ToRole};
use crate::wire::CloseReason;

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
        max_wait_ms: 20_000,
    });
    assert_eq!(harness.event(), "stop");
    assert_eq!(harness.event(), "timer");
    harness.message(2, 2, "release");
    harness.end().unwrap();
    harness.take();
    assert_eq!(harness.take().payload, b"last words");
    assert_eq!(harness.counter(ProcessCounter::InHand), 0);
}

#[test]
fn a_stop_ends_at_its_deadline_whatever_is_in_hand() {
    let mut harness = Harness::start();
    harness.open(1);
    harness.message(1, 1, "wait for ever");
    assert_eq!(harness.event(), "waits for ever");
    harness.tell(&ToRole::Stop { max_wait_ms: 50 });
    harness.end().unwrap();
    assert_eq!(harness.event(), "stop");
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
