//! Workers and task workers are replaced after `max_requests`, and clients notice nothing.

use std::collections::BTreeSet;

use moorline_tests::{Client, Engine, LENGTH_LISTENER, Load, Plan, Troubles, Wire, eventually};

/// Data messages are counted, each process draws its own limit, and sessions stay.
#[test]
fn a_worker_is_replaced_after_max_requests_and_its_sessions_stay() {
    let engine = Engine::start(
        "probe",
        &format!("[workers]\ncount = 2\nmax_requests = 100\n{LENGTH_LISTENER}"),
    );
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    let load = Load::start(
        &engine,
        0,
        Plan {
            sessions: 20,
            window: 4,
            ..Plan::default()
        },
    );
    let mut pids = BTreeSet::new();
    eventually("several workers have come and gone", || {
        pids.extend(engine.status().worker_pids());
        pids.len() >= 8
    });
    assert_eq!(load.finish().troubles, Troubles::default());
    assert_eq!(client.ask("id"), id, "the session has lived through it all");
    let status = engine.settled();
    assert_eq!(status.errors.worker_exits, 0, "they end as they should");
    assert_eq!(status.closed("crash"), 0);
}

/// What counts is messages, not how many sessions come and go, nor posts.
#[test]
fn sessions_without_messages_and_posts_are_not_counted() {
    let engine = Engine::start(
        "probe",
        &format!("[workers]\ncount = 1\nmax_requests = 10\n{LENGTH_LISTENER}"),
    );
    let pid = engine.worker(0).pid;
    for _ in 0..30 {
        drop(Client::connect(&engine, 0, Wire::LENGTH));
    }
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    for number in 0..9 {
        assert_eq!(
            client.ask(format!("post 0 {number}")),
            format!("{number} from 0 in 0")
        );
    }
    assert_eq!(engine.worker(0).pid, pid);
    // The tenth message.
    assert_eq!(client.ask("pid"), pid.to_string());
    eventually("the worker is replaced", || {
        engine.status().worker_pids().iter().all(|&now| now != pid)
    });
    assert_ne!(client.ask("pid"), pid.to_string());
}

/// Task workers have a limit of their own.
#[test]
fn a_task_worker_is_replaced_after_its_tasks() {
    let engine = Engine::start(
        "probe",
        &format!("[workers]\ncount = 1\n[tasks]\ncount = 1\nmax_requests = 5\n{LENGTH_LISTENER}"),
    );
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let worker = client.ask("pid");
    let mut pids = Vec::new();
    eventually("it is replaced", || {
        pids.extend((0..100).map(|_| client.ask("task pid")));
        pids.iter().collect::<BTreeSet<_>>().len() > 1
    });
    assert!(
        pids.iter().all(|pid| pid.parse::<i32>().is_ok()),
        "no task is lost: {pids:?}"
    );
    assert_eq!(client.ask("pid"), worker);
}

/// Workers that began together and have the same load leave one after the other.
#[test]
fn workers_do_not_leave_together() {
    let engine = Engine::start(
        "probe",
        &format!(
            "[workers]\ncount = 6\ndispatch = \"round-robin\"\nmax_requests = 100\n{LENGTH_LISTENER}"
        ),
    );
    let load = Load::start(
        &engine,
        0,
        Plan {
            sessions: 12,
            window: 1,
            ..Plan::default()
        },
    );
    let limits = || -> Vec<u64> {
        let log = engine.log();
        let reached = log
            .lines()
            .filter(|line| line.contains("max_requests reached"));
        let counts = reached.filter_map(|line| {
            let count = line.split("requests=").nth(1)?;
            count.split(' ').next()?.parse().ok()
        });
        counts.collect()
    };
    eventually("six have left", || limits().len() >= 6);
    assert_eq!(load.finish().troubles, Troubles::default());
    let limits = limits();
    assert!(limits.iter().all(|limit| *limit >= 100), "{limits:?}");
    let different: BTreeSet<&u64> = limits.iter().collect();
    // Each draws one of 51 numbers: that six or more are the same happens to nobody.
    assert!(different.len() > 1, "{limits:?}");
}
