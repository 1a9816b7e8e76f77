//! What an app asks of the engine: a reload, a stop, its own replacement, and the state.

use std::time::Duration;

use moorline_tests::{Client, Engine, LENGTH_LISTENER, Process, Wire, eventually};

fn config(workers: u16, more: &str) -> String {
    format!(
        "[workers]\ncount = {workers}\n[tasks]\ncount = 1\n{LENGTH_LISTENER}[app]\njournal = \"{{folder}}/journal\"\n{more}"
    )
}

fn probe(workers: u16, more: &str) -> Engine {
    Engine::start("probe", &config(workers, more))
}

#[test]
fn an_app_reloads_its_engine_and_no_session_closes() {
    let engine = probe(2, "");
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let pid = client.ask("pid");
    let answer = client.ask("ask-reload");
    assert!(answer.starts_with("Ok("), "{answer}");
    eventually("it is with the new process", || {
        client.ask("generation") == "2"
    });
    assert_ne!(client.ask("pid"), pid);
    assert_eq!(engine.status().reloads.done, 1);
    // Several at once have the same reason: one reload is enough.
    let mut other = Client::connect(&engine, 0, Wire::LENGTH);
    std::thread::sleep(std::time::Duration::from_millis(1000));
    client.send("ask-reload");
    other.send("ask-reload");
    let answers = [client.receive(), other.receive()].map(|it| String::from_utf8(it).unwrap());
    let done = answers.iter().filter(|it| it.starts_with("Ok("));
    assert_eq!(done.count(), 1, "{answers:?}");
    assert_eq!(engine.status().reloads.done, 2);
}

/// A process that the reload in progress replaces would wait for its own end.
#[test]
fn a_handler_that_asks_for_a_reload_during_another_is_refused_and_not_killed() {
    let engine = probe(2, "");
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let mut other = Client::connect(&engine, 0, Wire::LENGTH);
    let site = engine.site();
    site.configure(&config(2, "starts_with_file = \"{folder}/go\"\n"));
    client.send("ask-reload");
    eventually("the new workers wait in `start`", || {
        !engine.journal_of("waits ").is_empty()
    });
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let answer = other.ask("ask-reload");
    assert!(answer.contains("a reload is under way"), "{answer}");
    site.write("go", "");
    let answer = String::from_utf8(client.receive()).unwrap();
    assert!(answer.starts_with("Ok("), "{answer}");
    let status = engine.settled();
    assert_eq!((status.reloads.done, status.closed("crash")), (1, 0));
}

#[test]
fn an_app_learns_why_its_reload_failed_and_goes_on() {
    let engine = probe(1, "fails_with = \"{folder}/broken\"\n");
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let pid = client.ask("pid");
    std::fs::write(engine.path("broken"), "").expect("the folder takes files");
    let answer = client.ask("ask-reload");
    assert!(
        answer.starts_with("Err(Refused(") && answer.contains("asked not to start yet"),
        "{answer}"
    );
    assert_eq!(client.ask("pid"), pid);
}

#[test]
fn an_app_reads_the_state_of_the_engine() {
    let engine = probe(3, "");
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    for _ in 0..20 {
        let status: serde_json::Value =
            serde_json::from_str(&client.ask("ask-status")).expect("it is JSON");
        assert_eq!(status["workers"].as_array().map(Vec::len), Some(3));
        assert_eq!(status["supervisor"]["pid"], engine.supervisor());
    }
}

#[test]
fn apps_that_ask_for_the_state_without_end_do_not_keep_the_supervisor_busy() {
    let engine = probe(8, "");
    let mut clients: Vec<_> = (0..64)
        .map(|_| Client::connect(&engine, 0, Wire::LENGTH))
        .collect();
    let before = Process::cpu_time(engine.supervisor());
    for client in &mut clients {
        client.send("ask-status-for 2000");
    }
    for client in &mut clients {
        let count = String::from_utf8(client.receive()).unwrap();
        assert!(count.parse::<u64>().unwrap() > 20, "{count}");
    }
    let busy = Process::cpu_time(engine.supervisor()) - before;
    // Without shared answers it is twice that on a slow machine.
    assert!(busy < Duration::from_millis(120), "{busy:?} of 2 s");
}

#[test]
fn an_app_has_its_own_process_replaced() {
    let engine = probe(2, "");
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let (slot, pid) = (client.ask("slot"), client.ask("pid"));
    let others = engine
        .worker(1 - slot.parse::<u16>().expect("a number"))
        .pid;
    assert_eq!(client.ask("recycle"), "Ok(())");
    assert_eq!(client.ask("recycle"), "Ok(())");
    eventually("it is with the new process", || client.ask("pid") != pid);
    assert_eq!(
        (client.ask("slot"), client.ask("generation")),
        (slot.clone(), "1".to_owned())
    );
    let slot = slot.parse::<u16>().expect("a number");
    assert_eq!(engine.worker(1 - slot).pid, others);
    // The new one may ask as well.
    let pid = client.ask("pid");
    assert_eq!(client.ask("recycle"), "Ok(())");
    eventually("it is with the next process", || client.ask("pid") != pid);
}

#[test]
fn an_app_stops_its_engine_in_order() {
    let mut engine = probe(2, "");
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let mut other = Client::connect(&engine, 0, Wire::LENGTH);
    other.send("sleep 500");
    eventually("it is in progress", || {
        engine
            .status()
            .workers
            .iter()
            .any(|worker| worker.in_progress == 1)
    });
    client.send("ask-stop");
    client.send("ask-stop");
    assert_eq!(client.receive(), b"Ok(())");
    assert_eq!(other.receive_to_end(), [b"slept"]);
    assert!(engine.ended().success());
}
