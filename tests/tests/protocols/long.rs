//! Messages of all lengths: they arrive whole and in order, however they are split, and whatever was before them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use moorline_tests::{Client, Engine, PATIENCE, Random, Wire, kill};
use nix::sys::signal::Signal;

/// Sizes around which something changes: a read, a record, a window.
const EDGES: [usize; 7] = [0, 128, 2048, 16_384, 65_536, 131_072, 1_048_576];

fn listener(more: &str) -> String {
    format!(
        "[engine]\ngateway_loops = 2\n[workers]\ncount = 2\n[[listen]]\naddress = \"tcp://127.0.0.1:0\"\n\
         framing = {{ kind = \"length\" }}\n{more}\n"
    )
}

/// A length near one of the edges, mostly a short one.
fn length(random: &mut Random) -> usize {
    let edge = EDGES[random.within(0..EDGES.len())];
    let edge = if edge > 131_072 && random.within(0..4) > 0 {
        4096
    } else {
        edge
    };
    (edge + random.within(0..9)).saturating_sub(4)
}

/// Sends messages in pieces of random sizes without waiting for answers, and reads all answers.
fn exchange(address: &str, mut random: Random, messages: usize) {
    let mut stream = TcpStream::connect(address.trim_start_matches("tcp://")).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let sent: Vec<Vec<u8>> = (0..messages)
        .map(|_| {
            let first = random.number();
            let fill = |at| (first as usize ^ (at * 31)) as u8;
            (0..length(&mut random)).map(fill).collect()
        })
        .collect();
    let mut bytes = Vec::new();
    for message in &sent {
        bytes.extend(Wire::LENGTH.encode(message));
    }
    let mut writer = stream.try_clone().expect("a second handle");
    let writing = thread::spawn(move || {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let piece = random.within(1..100_001);
            let (now, later) = rest.split_at(piece.min(rest.len()));
            writer.write_all(now).expect("the engine reads");
            rest = later;
            if random.within(0..3) == 0 {
                thread::sleep(Duration::from_micros(random.within(0..2000) as u64));
            }
        }
    });
    for (number, message) in sent.iter().enumerate() {
        let mut head = [0; 4];
        stream.read_exact(&mut head).expect("an answer");
        assert_eq!(
            u32::from_be_bytes(head) as usize,
            message.len(),
            "message {number}"
        );
        let mut answer = vec![0; message.len()];
        stream.read_exact(&mut answer).expect("a whole answer");
        assert!(
            answer == *message,
            "message {number} of {} bytes",
            message.len()
        );
    }
    writing.join().expect("all was written");
}

fn exchange_with_many(engine: &Engine) {
    let mut random = Random::new();
    thread::scope(|scope| {
        for _ in 0..8 {
            let random = random.split();
            scope.spawn(|| exchange(engine.address(0), random, 60));
        }
        // Sessions move to other processes meanwhile.
        for _ in 0..2 {
            thread::sleep(Duration::from_millis(200));
            engine.reload().expect_success();
        }
    });
    assert_eq!(engine.settled().closed("framing"), 0);
}

#[test]
fn messages_of_all_lengths_come_back_whole_through_reloads() {
    exchange_with_many(&Engine::start("echo", &listener("")));
}

#[test]
fn messages_of_all_lengths_come_back_whole_under_redeliver() {
    exchange_with_many(&Engine::start(
        "echo",
        &listener("on_crash = \"redeliver\""),
    ));
}

#[test]
fn messages_of_all_lengths_come_back_whole_where_each_has_its_own_worker() {
    exchange_with_many(&Engine::start(
        "echo",
        &listener("dispatch = \"round-robin\""),
    ));
}

#[test]
fn messages_of_all_lengths_come_back_whole_through_the_smallest_rings() {
    let config = listener("").replace("[workers]", "ring_memory = \"1536KiB\"\n[workers]");
    exchange_with_many(&Engine::start("echo", &config));
}

/// Their input is left in the sockets, since the process has much in its ring already.
#[test]
fn long_messages_that_wait_for_a_stopped_worker_are_answered_and_their_sessions_not_idle() {
    let more = "idle_timeout = \"1s\"\nmin_receive_rate = \"1KiB\"";
    let config = listener(more).replace("count = 2", "count = 1");
    let engine = Engine::start("echo", &config);
    let mut clients: Vec<Client> = (0..60)
        .map(|_| Client::connect(&engine, 0, Wire::LENGTH))
        .collect();
    let message = vec![b'm'; 60_000];
    for client in &mut clients {
        client.send(&message);
        assert_eq!(client.receive(), message);
    }
    let worker = engine.worker(0).pid;
    kill(worker, Signal::SIGSTOP);
    for client in &mut clients {
        client.send(&message);
    }
    thread::sleep(Duration::from_secs(4));
    let delivered = engine.status().workers[0].in_progress;
    assert!(delivered < 20, "{delivered} messages were read");
    kill(worker, Signal::SIGCONT);
    for client in &mut clients {
        assert_eq!(client.receive(), message);
    }
    let status = engine.status();
    assert_eq!((status.closed("idle"), engine.worker(0).sessions), (0, 60));
}
