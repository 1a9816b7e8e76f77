//! A generation that is not committed sends nothing. Of the committed processes exactly one leads.

use std::net::UdpSocket;
use std::time::Duration;

use moorline_tests::{Client, Engine, LENGTH_LISTENER, Site, Wire, eventually, kill};
use nix::sys::signal::Signal;

/// Longer than the start of a worker that is well, and many beats of one that speaks before it may.
const CONFIG: &str = "[workers]\ncount = 2\nstart_timeout = \"2s\"\n[tasks]\ncount = 1\n";

fn config(app: &str) -> String {
    format!("{CONFIG}{LENGTH_LISTENER}[app]\njournal = \"{{folder}}/journal\"\n{app}\n")
}

fn handled_by_workers(engine: &Engine) -> u64 {
    engine
        .status()
        .workers
        .iter()
        .map(|worker| worker.handled)
        .sum()
}

/// All that a client receives until this message, which included.
fn until(client: &mut Client, last: &str) -> Vec<String> {
    let mut heard = Vec::new();
    while heard.last().is_none_or(|heard| heard != last) {
        heard.push(String::from_utf8(client.receive()).expect("the probe speaks text"));
    }
    heard
}

#[test]
fn a_generation_whose_reload_fails_sends_nothing_to_clients_and_workers() {
    let engine = Engine::start("probe", &config(""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    assert_eq!(client.ask("join all"), "ok");
    let handled = handled_by_workers(&engine);

    let site = engine.site();
    site.configure(&config(&format!(
        "heralds_to = \"{id}\"\nhangs_in_slot = 1"
    )));
    engine.reload().expect_refusal(&["worker 1"]);
    assert_eq!(
        site.journal_of("start worker").len(),
        3,
        "one new worker did start"
    );

    assert_eq!(
        client.ask("build"),
        "first",
        "its own answer is what it hears next"
    );
    assert!(client.is_quiet_for(Duration::from_millis(200)));
    assert_eq!(handled_by_workers(&engine), handled + 1, "no post has come");
    assert_eq!(
        site.journal_of("serving").len(),
        3,
        "two workers and a task worker, once each"
    );
}

#[test]
fn messages_sent_before_the_commit_arrive_with_it() {
    let engine = Engine::start("probe", &config(""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    assert_eq!(client.ask("join all"), "ok");

    let site = engine.site();
    site.configure(&config(&format!("heralds_to = \"{id}\"")));
    engine.reload().expect_success();

    let mut awaited: Vec<&str> =
        ["start pushes", "start sends", "start broadcasts", "serving"].repeat(2);
    // The task worker has a `serving` hook, too.
    awaited.extend(["serving", "timer beats", "task beats"]);
    while !awaited.is_empty() {
        let heard = String::from_utf8(client.receive()).expect("the probe speaks text");
        if let Some(place) = awaited.iter().position(|text| *text == heard) {
            awaited.remove(place);
        } else {
            let is_repeated = heard.ends_with("beats") || heard.starts_with("start posts from");
            assert!(is_repeated, "{heard:?} comes once too often");
        }
    }
    for noted in [
        "task in start Err(NotServing)",
        "info in start Err(NotServing)",
        "asked in start (Err(NotServing), Err(NotServing), Err(NotServing)) Err(NotServing)",
    ] {
        assert_eq!(site.journal_of(noted).len(), 2);
    }
    assert_eq!(site.journal_of("serving").len(), 6, "once in each process");
}

#[test]
fn timers_of_a_start_do_not_fire_before_the_commit_nor_all_at_once_after_it() {
    let engine = Engine::start("probe", &config(""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    assert_eq!(client.ask("join all"), "ok");
    let site = engine.site();
    // One new worker is ready long before the other: 75 beats are left out.
    site.configure(&config(&format!(
        "heralds_to = \"{id}\"\nstarts_late_in_slot = 1"
    )));
    engine.reload().expect_success();
    let heard = until(&mut client, "serving");
    let beats = heard.iter().filter(|text| text.ends_with("beats")).count();
    assert!(beats < 20, "{beats} beats came at once: {heard:?}");
}

/// A session that a starting process does something to: by an order, and while one of the others hangs.
fn heralded() -> (Engine, Client, String) {
    let files = "herald_file = \"{folder}/herald\"\nhangs_file = \"{folder}/hangs\"";
    let udp = "[[listen]]\nname = \"udp\"\naddress = \"udp://127.0.0.1:0\"\n[app]\n";
    let config = config(files).replace("[app]\n", udp);
    let config = config.replace("[tasks]\ncount = 1", "[tasks]\ncount = 2");
    let engine = Engine::start("probe", &config);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    (engine, client, id)
}

#[test]
fn joins_closes_and_datagrams_of_a_start_happen_with_the_commit_or_not_at_all() {
    let (engine, mut client, id) = heralded();
    let site = engine.site();
    let peer = UdpSocket::bind("127.0.0.1:0").expect("there is a port");
    let address = peer.local_addr().expect("it has one");

    site.write("herald", format!("worker harm {id} {address}"));
    site.write("hangs", "worker 1");
    engine.reload().expect_refusal(&["worker 1"]);
    assert_eq!(client.ask("members-count new"), "0");
    assert!(client.is_quiet_for(Duration::from_millis(200)));
    peer.set_read_timeout(Some(Duration::from_millis(200)))
        .expect("a non-zero timeout is legal");
    let mut datagram = [0; 64];
    assert!(peer.recv(&mut datagram).is_err(), "a datagram has come");

    std::fs::remove_file(site.path("hangs")).expect("it is there");
    engine.reload().expect_success();
    let heard = client.receive_to_end();
    assert!(heard.iter().all(|text| text == b"start broadcasts"));
    peer.set_read_timeout(Some(moorline_tests::PATIENCE))
        .expect("a non-zero timeout is legal");
    let length = peer.recv(&mut datagram).expect("a datagram comes");
    assert_eq!(&datagram[..length], b"start sends");
}

#[test]
fn calls_that_cannot_wait_for_the_commit_fail_in_start() {
    let (engine, mut client, id) = heralded();
    let site = engine.site();
    for order in ["overflow", "file"] {
        let path = site.path("moorline.toml");
        site.write("herald", format!("worker {order} {id} {}", path.display()));
        engine.reload().expect_success();
    }
    let overflows = site.journal_of("overflow ");
    assert_eq!(overflows.len(), 2);
    for line in overflows {
        let after = line.strip_prefix("overflow NotServing after ");
        let after = after.unwrap_or_else(|| panic!("{line}"));
        let count: usize = after.parse().expect("it is a number");
        assert!(count > 10, "some of it has waited: {count}");
        // All of that comes, and nothing else.
        for _ in 0..count {
            assert_eq!(client.receive(), [b'o'; 16 * 1024]);
        }
    }
    let refused = "file in start Err(Session(NotServing))";
    assert_eq!(site.journal_of("file in start"), [refused, refused]);
    assert_eq!(client.ask("build"), "first");
}

#[test]
fn a_task_worker_whose_reload_fails_sends_nothing() {
    let (engine, mut client, id) = heralded();
    let site = engine.site();
    assert_eq!(client.ask("join all"), "ok");
    site.write("herald", format!("task speak {id}"));
    site.write("hangs", "task 1");
    let tasks = || -> Vec<i32> { engine.status().tasks.iter().map(|it| it.pid).collect() };
    let before = tasks();
    for command in [&["reload", "--tasks"][..], &["reload"]] {
        engine.run(command).expect_refusal(&["task worker 1"]);
        assert_eq!(client.ask("build"), "first");
        assert!(client.is_quiet_for(Duration::from_millis(200)));
        assert_eq!(tasks(), before);
    }
    std::fs::remove_file(site.path("hangs")).expect("it is there");
    engine.run(&["reload", "--tasks"]).expect_success();
    let mut heard: Vec<_> = (0..4).map(|_| client.receive()).collect();
    heard.sort();
    assert_eq!(
        heard,
        [
            &b"start broadcasts"[..],
            b"start broadcasts",
            b"start pushes",
            b"start pushes"
        ]
    );
}

/// The journal's lines about leaders.
fn leaders(site: &Site) -> Vec<String> {
    let mut lines = site.journal();
    lines.retain(|line| line.starts_with("leads") || line.starts_with("resigns"));
    lines
}

/// The process that leads, according to `status`.
#[track_caller]
fn leader(engine: &Engine) -> i32 {
    let mut found = Vec::new();
    eventually("one process leads", || {
        let workers = engine.status().workers;
        found = workers
            .iter()
            .filter(|it| it.leader)
            .map(|it| it.pid)
            .collect();
        found.len() == 1
    });
    found[0]
}

#[test]
fn one_process_leads_and_over_a_reload_the_old_one_resigns_first() {
    let engine = Engine::start("probe", &config(""));
    let site = engine.site();
    let mut expected = Vec::new();
    let mut last = leader(&engine);
    expected.push(format!("leads {last}"));
    site.journaled(&expected[0]);
    for _ in 0..3 {
        engine.reload().expect_success();
        let mut next = last;
        eventually("another process leads", || {
            next = leader(&engine);
            next != last
        });
        expected.push(format!("resigns {last}"));
        expected.push(format!("leads {next}"));
        site.journaled(&format!("leads {next}"));
        last = next;
    }
    assert_eq!(leaders(&site), expected);
}

#[test]
fn another_process_leads_when_the_leader_dies_or_its_slot_goes() {
    let engine = Engine::start("probe", &config(""));
    let site = engine.site();
    let first = leader(&engine);
    site.journaled(&format!("leads {first}"));
    kill(first, Signal::SIGKILL);
    eventually("another process leads", || {
        engine
            .status()
            .workers
            .iter()
            .any(|it| it.leader && it.pid != first)
    });
    let second = leader(&engine);
    site.journaled(&format!("leads {second}"));
    engine.settled();

    site.configure(&config("").replacen("count = 2", "count = 1", 1));
    engine.reload().expect_success();
    eventually("the one worker leads", || {
        let workers = engine.status().workers;
        workers.len() == 1 && workers[0].leader
    });
    let third = leader(&engine);
    site.journaled(&format!("leads {third}"));
    assert_eq!(
        leaders(&site),
        [
            format!("leads {first}"),
            format!("leads {second}"),
            format!("resigns {second}"),
            format!("leads {third}"),
        ]
    );
}
