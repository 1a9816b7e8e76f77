//! Nobody hears of a generation that is not committed; and of those that are, one process leads.

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
fn clients_and_workers_hear_nothing_of_a_generation_whose_reload_fails() {
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
fn what_was_sent_before_the_commit_arrives_with_it() {
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
