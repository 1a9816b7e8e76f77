//! The memory of an idle session: about 1 KiB, over all processes.

use moorline_tests::{Client, Engine, LENGTH_LISTENER, Process, Wire, eventually};

const SESSIONS: u64 = 5_000;
/// Bytes a session, at most.
const LIMIT: u64 = 1_229;

#[test]
fn an_idle_session_costs_at_most_1200_bytes_in_all_processes_together() {
    // Two descriptors a session at most in any one process, and some more.
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
        .expect("limits can be read");
    nix::sys::resource::setrlimit(
        nix::sys::resource::Resource::RLIMIT_NOFILE,
        limit.1,
        limit.1,
    )
    .expect("up to the hard one");
    assert!(
        limit.1 > 2 * SESSIONS,
        "this needs {} descriptors: raise the hard limit (ulimit -Hn)",
        2 * SESSIONS
    );

    let engine = Engine::start(
        "echo",
        &format!("[engine]\ngateway_loops = 1\n[workers]\ncount = 1\n{LENGTH_LISTENER}"),
    );
    let mut clients = Vec::new();
    // The first ones warm up what is there once: tables, pools, code.
    idle(&engine, &mut clients, SESSIONS / 10);
    let before = private_memory(&engine);
    idle(&engine, &mut clients, SESSIONS);
    let after = private_memory(&engine);

    let each = after.saturating_sub(before) / SESSIONS;
    println!("{each} bytes a session");
    assert!(each <= LIMIT, "an idle session costs {each} bytes");
    assert_eq!(engine.status().gateway.buffered_bytes, 0);
}

/// Opens `count` more sessions, each with one exchange.
fn idle(engine: &Engine, clients: &mut Vec<Client>, count: u64) {
    for _ in 0..count {
        let mut client = Client::connect(engine, 0, Wire::LENGTH);
        client.send([7; 128]);
        assert_eq!(client.receive(), [7; 128]);
        clients.push(client);
    }
    let all = clients.len() as u64;
    eventually("every session is there", || {
        engine.status().gateway.sessions == all
    });
}

fn private_memory(engine: &Engine) -> u64 {
    engine
        .processes()
        .iter()
        .map(|process| Process::private_memory(process.pid))
        .sum()
}
