//! A group with many members on three nodes, beside one with as many on one node.

use std::time::{Duration, Instant};

use moorline_tests::{Client, Engine, Nats, Process, Wire, eventually, sized};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::fixture::{session, three};

/// Messages to each group.
const ROUNDS: u32 = 10;

/// What a message to a group costs, on average.
#[derive(Debug)]
#[expect(dead_code, reason = "it is shown")]
struct Cost {
    members: usize,
    until_the_last_has_it: Duration,
    cpu_for_each_member: Duration,
}

/// Measures messages from a session to a group of these members.
fn measure(nodes: &[Engine; 3], sender: &mut Client, group: &str, members: &mut [Client]) -> Cost {
    let cpu = || -> Duration {
        let processes = nodes.iter().flat_map(Engine::processes);
        processes.map(|it| Process::cpu_time(it.pid)).sum()
    };
    let (mut spent, before) = (Duration::ZERO, cpu());
    for round in 0..ROUNDS {
        let text = format!("{round:0>128}");
        let began = Instant::now();
        sender.send(format!("say {group} {text}"));
        for member in &mut *members {
            assert_eq!(member.receive(), text.as_bytes());
        }
        spent += began.elapsed();
    }
    Cost {
        members: members.len(),
        until_the_last_has_it: spent / ROUNDS,
        cpu_for_each_member: (cpu() - before) / ROUNDS / members.len() as u32,
    }
}

#[test]
fn a_message_to_a_crowd_on_three_nodes_reaches_all_of_it() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("up to there it is allowed");
    let crowd = sized(300, 10_200);
    let nats = Nats::start("");
    let nodes = three(&nats);
    let join = |engine: &Engine, group: &str| {
        let mut client = Client::connect(engine, 0, Wire::LENGTH);
        assert_eq!(client.ask(format!("join {group}")), "ok");
        client
    };
    let (mut sender, _) = session(&nodes[0]);
    let spread = (0..crowd).map(|at| join(&nodes[at % 3], "spread"));
    let mut spread: Vec<_> = spread.collect();
    eventually("all members are known", || {
        sender.ask("members-count spread") == crowd.to_string()
    });
    let three_nodes = measure(&nodes, &mut sender, "spread", &mut spread);
    drop(spread);
    eventually("all have left", || {
        sender.ask("members-count spread") == "0"
    });
    let mut together: Vec<_> = (0..crowd).map(|_| join(&nodes[0], "together")).collect();
    let one_node = measure(&nodes, &mut sender, "together", &mut together);
    eprintln!("on three nodes: {three_nodes:?}\non one node: {one_node:?}");
}
