//! Connections that come before the first worker serves: when the engine starts, and when its gateway was replaced.

use std::ops::RangeInclusive;
use std::thread;

use moorline_tests::{Client, Engine, LENGTH_LISTENER, Site, Stream, Wire, eventually, kill};
use nix::sys::signal::Signal;

/// Early sessions, which two workers must share.
const SESSIONS: usize = 200;
/// Each worker's part: two gateway loops may count a connection in the same moment.
const EVEN: RangeInclusive<u64> = 95..=105;
/// An address belongs to one worker by its hash, so chance has its part.
const EVEN_BY_HASH: RangeInclusive<u64> = 65..=135;
/// A message, and its session with it, goes to the worker with less in progress at that moment: the quick one gets more, and the
/// other one some.
const BY_WORK: RangeInclusive<u64> = 10..=190;

fn config(dispatch: &str) -> String {
    format!(
        "[engine]\ngateway_loops = 2\n[workers]\ncount = 2\ndispatch = \"{dispatch}\"\n{LENGTH_LISTENER}\
         [[listen]]\nname = \"door\"\naddress = \"unix://{{folder}}/door.sock\"\nframing = {{ kind = \"line\" }}\n\
         [app]\nstarts_with_file = \"{{folder}}/go\"\n"
    )
}

/// Every worker has its part of the sessions, and answers them.
#[track_caller]
fn are_shared_out(
    engine: &Engine,
    clients: &mut [Client],
    dispatch: &str,
    even: RangeInclusive<u64>,
) {
    let mut parts = Vec::new();
    eventually("every session is with a worker", || {
        let workers = engine.status().ready_workers();
        parts = workers.iter().map(|worker| worker.sessions).collect();
        parts.iter().sum::<u64>() == clients.len() as u64
    });
    assert!(
        parts.len() == 2 && parts.iter().all(|part| even.contains(part)),
        "{dispatch}: the workers have {parts:?} sessions"
    );
    for client in clients {
        assert!(["0", "1"].contains(&client.ask("slot").as_str()));
    }
}

/// Starts an engine, has all clients connect before a worker serves, and lets the workers serve.
fn connect_early(dispatch: &str, say: Option<&str>) -> (Engine, Vec<Client>) {
    let site = Site::new("probe", &config(dispatch));
    let starting = {
        let site = site.clone();
        thread::spawn(move || site.start())
    };
    let address = format!("unix://{}", site.path("door.sock").display());
    eventually("the listener is bound", || {
        Stream::connect(&address).is_ok()
    });
    let mut clients: Vec<Client> = (0..SESSIONS)
        .map(|_| Client::try_connect(&address, Wire::Line).expect("the engine accepts"))
        .collect();
    for client in &mut clients {
        say.into_iter().for_each(|word| client.send(word));
    }
    site.write("go", "");
    (starting.join().expect("the engine starts"), clients)
}

#[test]
fn sessions_that_connect_before_the_first_worker_are_shared_out_when_the_workers_serve() {
    for dispatch in ["sticky", "round-robin", "least-busy", "ip-hash", "key"] {
        let (engine, mut clients) = connect_early(dispatch, None);
        are_shared_out(&engine, &mut clients, dispatch, EVEN);
    }
}

#[test]
fn messages_before_the_first_worker_serves_wait_for_it() {
    for dispatch in ["sticky", "round-robin", "least-busy", "ip-hash", "key"] {
        let (engine, mut clients) = connect_early(dispatch, Some("early"));
        for client in &mut clients {
            assert_eq!(client.receive(), b"early", "{dispatch}");
        }
        let even = match dispatch {
            // Each session has gone where its message went.
            "least-busy" => BY_WORK,
            _ => EVEN,
        };
        are_shared_out(&engine, &mut clients, dispatch, even);
    }
}

#[test]
fn sessions_that_connect_before_a_new_gateway_knows_its_workers_are_shared_out() {
    for dispatch in ["sticky", "round-robin", "least-busy", "ip-hash", "key"] {
        let site = Site::new("probe", &config(dispatch));
        site.write("go", "");
        let engine = site.start();
        let before = engine.status().gateway;
        kill(before.pid, Signal::SIGKILL);
        // The listening socket has outlived the gateway, and the next one accepts before it knows any worker.
        let mut clients: Vec<Client> = (0..SESSIONS)
            .map(|at| {
                let host = at as u8 + 1;
                Client::connect_from(&engine, 0, Wire::LENGTH, [127, 0, 0, host])
            })
            .collect();
        let even = match dispatch {
            "ip-hash" => EVEN_BY_HASH,
            _ => EVEN,
        };
        are_shared_out(&engine, &mut clients, dispatch, even);
        let after = engine.status().gateway;
        assert_eq!(after.incarnation, before.incarnation + 1, "{dispatch}");
        assert_eq!(after.accepted, SESSIONS as u64, "{dispatch}");
    }
}
