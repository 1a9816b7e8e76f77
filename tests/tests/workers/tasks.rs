//! Task workers: every way to give out a task, and its outcome. Timers, which every role has.

use std::time::Duration;

use moorline_tests::{Client, Engine, LENGTH_LISTENER, Process, Stopwatch, Wire, eventually};
use nix::sys::signal::Signal;

fn probe(tasks: u16) -> Engine {
    let config = format!(
        "[workers]\ncount = 1\n[tasks]\ncount = {tasks}\n{LENGTH_LISTENER}[app]\njournal = \"{{folder}}/journal\"\n"
    );
    Engine::start("probe", &config)
}

/// A caller that needs no answer does not wait for one.
#[test]
fn a_task_is_given_out_and_forgotten() {
    let engine = probe(1);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    // The second waits behind the first, which blocks; the worker waits for neither.
    let begun = Stopwatch::start();
    assert_eq!(client.ask("task-detach block 500"), "detached");
    assert_eq!(client.ask("task-detach note forgotten"), "detached");
    assert!(begun.elapsed() < Duration::from_millis(400));
    engine.journaled("forgotten");
    // Their credits return although nobody waits: more than 64 of them, one after another.
    for _ in 0..200 {
        assert_eq!(client.ask("task-detach pid"), "detached");
        assert!(client.ask("task pid").parse::<i32>().is_ok());
    }
}

/// Several tasks run at once, each in another process, and share one deadline.
#[test]
fn several_tasks_run_at_once_until_their_deadline() {
    let engine = probe(3);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let begun = Stopwatch::start();
    assert_eq!(
        client.ask("tasks 10000 block 600, block 600, block 600"),
        "blocked, blocked, blocked"
    );
    assert!(
        begun.elapsed() < Duration::from_millis(1500),
        "they ran one after another: {:?}",
        begun.elapsed()
    );
    let begun = Stopwatch::start();
    assert_eq!(
        client.ask("tasks 500 fast, block 2000, fail"),
        "FAST, Timeout, Failed(\"asked to fail\")"
    );
    assert!(begun.elapsed() < Duration::from_millis(1800));
    assert_eq!(client.ask("task-within 300 block 1000"), "Timeout");
    assert_eq!(client.ask("task-within 5000 pleasant"), "PLEASANT");
}

/// A task for one slot goes to the process there, and waits for it while it is replaced.
#[test]
fn a_task_goes_to_the_slot_that_was_chosen() {
    let engine = probe(3);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    for slot in [2, 0, 1, 2, 2] {
        assert_eq!(client.ask(format!("task-to {slot} slot")), slot.to_string());
    }
    assert_eq!(client.ask("task-to 3 slot"), "NoSuchTaskWorker");
    let pid = client.ask("task-to 1 pid");
    moorline_tests::kill(pid.parse().expect("it is a number"), Signal::SIGKILL);
    let mut successor = pid.clone();
    eventually("its successor does it", || {
        successor = client.ask("task-to 1 pid");
        successor != pid
    });
    assert_eq!(client.ask("task-to 1 slot"), "1");
    // One that is waited for by nobody else holds up none: slot 0 works while slot 1 is busy.
    let mut other = Client::connect(&engine, 0, Wire::LENGTH);
    other.send("task-to 1 block 1000");
    let begun = Stopwatch::start();
    assert_eq!(client.ask("task-to 0 slot"), "0");
    assert!(begun.elapsed() < Duration::from_millis(800));
    assert_eq!(other.receive(), b"blocked");
}

/// 64 tasks of a process may be unfinished; the next is refused, and there is room when they have ended.
#[test]
fn tasks_beyond_the_bound_are_refused_until_some_have_ended() {
    let engine = probe(2);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    for _ in 0..3 {
        assert_eq!(client.ask("task-fill block 1"), "64 Full");
        let mut answer = String::new();
        eventually("there is room again", || {
            answer = client.ask("task pleasant");
            answer != "Full"
        });
        assert_eq!(answer, "PLEASANT");
        eventually("they have ended", || {
            engine
                .status()
                .tasks
                .iter()
                .all(|task| task.in_progress == 0)
        });
    }
}

/// Tasks wait for room in the order they were given out; a loop of 2,048 loses none.
#[test]
fn tasks_that_wait_for_room_are_all_done() {
    let engine = probe(1);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    assert_eq!(client.ask("task-all 2048 note done"), "given out");
    eventually("they are done", || engine.journal_of("done").len() == 2048);
    assert_eq!(client.ask("task-many 300 pleasant"), "300");
    // While others wait for room nobody passes them, and `try_` forms are refused.
    let mut other = Client::connect(&engine, 0, Wire::LENGTH);
    client.send("task-all 100 block 20");
    eventually("there is no room", || {
        other.ask("task-or-full slot") == "Full"
    });
    assert_eq!(other.ask("task-within 20 slot"), "Timeout");
    assert_eq!(other.ask("task-within 10000 slot"), "0");
    assert_eq!(client.receive(), b"given out");
}

/// What runs in a task worker gives out none.
#[test]
fn a_task_cannot_give_out_tasks() {
    let engine = probe(1);
    assert_eq!(engine.ask_once("task task more"), "Err(NotAWorker)");
}

/// A task is tried as often as `attempts` says, whether its result is waited for or not.
#[test]
fn a_task_whose_worker_dies_is_tried_as_often_as_configured() {
    for attempts in [1, 2] {
        let engine = Engine::start(
            "probe",
            &format!(
                "[workers]\ncount = 1\n[tasks]\ncount = 1\nattempts = {attempts}\n{LENGTH_LISTENER}[app]\njournal = \"{{folder}}/journal\"\n"
            ),
        );
        let mut client = Client::connect(&engine, 0, Wire::LENGTH);
        let answer = client.ask("task crash");
        assert!(answer.starts_with("Failed"), "{answer}");
        assert_eq!(engine.status().errors.worker_exits, attempts);
        let path = engine.path("crashed").display().to_string();
        assert_eq!(
            client.ask(format!("task-detach crash-once {path}")),
            "detached"
        );
        eventually("it has died", || {
            engine.status().errors.worker_exits == attempts + 1
        });
        // In its turn: that one has been tried before.
        assert_eq!(client.ask("task-detach note behind it"), "detached");
        engine.journaled("behind it");
        assert_eq!(
            engine.journal_of("survived").len() as u64,
            attempts - 1,
            "one attempt more than the one that died"
        );
    }
}

/// A task counts a death of its worker only if the worker had taken it.
#[test]
fn tasks_that_a_dead_worker_had_not_taken_are_not_held_to_have_killed_it() {
    let engine = Engine::start(
        "probe",
        &format!("[workers]\ncount = 1\n[tasks]\ncount = 1\nattempts = 3\n{LENGTH_LISTENER}"),
    );
    let mut fatal = Client::connect(&engine, 0, Wire::LENGTH);
    fatal.send("task block 60000");
    let mut behind: Vec<Client> = (0..5)
        .map(|_| Client::connect(&engine, 0, Wire::LENGTH))
        .collect();
    let mut died = 0;
    for _ in 0..3 {
        let mut pid = 0;
        eventually("the first one blocks its worker", || {
            let tasks = engine.status().tasks;
            let blocked = tasks
                .iter()
                .find(|task| task.in_progress == 1 && task.pid != died);
            pid = blocked.map_or(0, |task| task.pid);
            pid != 0
        });
        if died == 0 {
            for (number, client) in behind.iter_mut().enumerate() {
                client.send(format!("task behind {number}"));
            }
            eventually("they are on their way to the task worker", || {
                engine.status().gateway.messages == 6
            });
            // A worker's turn later they are in the ring.
            assert_eq!(engine.ask_once("build"), "first");
        }
        moorline_tests::kill(pid, Signal::SIGKILL);
        died = pid;
    }
    let answer = String::from_utf8(fatal.receive()).expect("it is text");
    assert!(answer.starts_with("Failed"), "{answer}");
    for (number, client) in behind.iter_mut().enumerate() {
        assert_eq!(client.receive(), format!("BEHIND {number}").as_bytes());
    }
}

/// Payloads and results of 64 MiB pass; one byte more is refused before it is sent.
#[test]
fn tasks_of_64_mib_pass_both_ways() {
    const LARGEST: usize = 64 << 20;
    let engine = probe(1);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    assert_eq!(
        client.ask(format!("task-big {LARGEST}")),
        LARGEST.to_string()
    );
    assert_eq!(
        client.ask(format!("task-big {}", LARGEST + 1)),
        format!("TooLarge {{ size: {}, max: {LARGEST} }}", LARGEST + 1)
    );
    assert_eq!(client.ask("task still there"), "STILL THERE");
    // Nothing of it stays in the gateway.
    eventually("the gateway has let go of it", || {
        engine.status().gateway.buffered_bytes == 0
    });
    assert!(Process::private_memory(engine.status().gateway.pid) < 32 << 20);
}

/// What blocks a task worker blocks nothing else.
#[test]
fn blocking_code_is_fine_in_task_workers() {
    let engine = probe(1);
    let mut busy = Client::connect(&engine, 0, Wire::LENGTH);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    busy.send("task block 1500");
    let begun = Stopwatch::start();
    for number in 0..100 {
        assert_eq!(client.ask(number.to_string()), number.to_string());
    }
    assert!(begun.elapsed() < Duration::from_millis(1000));
    assert_eq!(busy.receive(), b"blocked");
}

/// USR2 replaces task workers and leaves workers alone; what they have in progress is ended first. Once the
/// reload counts as done nothing goes to the old ones.
#[test]
fn usr2_reloads_task_workers_alone() {
    let engine = probe(2);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let mut busy = Client::connect(&engine, 0, Wire::LENGTH);
    let (worker, task) = (client.ask("pid"), client.ask("task-to 0 pid"));
    busy.send("task-to 0 block 700");
    eventually("it is in progress", || {
        engine
            .status()
            .tasks
            .iter()
            .any(|task| task.in_progress == 1)
    });
    moorline_tests::kill(engine.supervisor(), Signal::SIGUSR2);
    eventually("it is done", || engine.status().reloads.done == 1);
    assert_ne!(client.ask("task-to 0 pid"), task);
    assert_eq!(client.ask("pid"), worker);
    assert_eq!(busy.receive(), b"blocked");
}

/// Timers fire in workers and task workers alike; a dropped handle clears one.
#[test]
fn timers_run_in_every_role() {
    let engine = probe(1);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let begun = Stopwatch::start();
    client.send("timer 300");
    assert_eq!(client.receive(), b"after");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    client.send("timer-cleared 100");
    assert!(client.is_quiet_for(Duration::from_millis(500)));
    let begun = Stopwatch::start();
    assert_eq!(client.ask("timer-every 50"), "3 ticks");
    assert!(begun.elapsed() >= Duration::from_millis(150));
    assert_eq!(client.ask("task every 50"), "3 ticks");
}

/// Posts reach every worker, one's own too, and a slot that does not exist is an error.
#[test]
fn a_post_to_no_slot_is_refused() {
    let engine = probe(1);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    assert_eq!(client.ask("post 0 own"), "own from 0 in 0");
    assert_eq!(client.ask("post 1 none"), "NoSuchWorker");
}

/// A panic of a timer is logged and counted, and the timer ticks on.
#[test]
fn a_timer_that_panics_ticks_on() {
    let engine = probe(1);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.send("timer-panics 20");
    assert_eq!(client.receive(), b"tick 3");
    assert_eq!(client.receive(), b"tick 4");
    engine.logged(&["asked to panic in a timer"]);
    assert_eq!(engine.status().errors.handlers, 2);
}
