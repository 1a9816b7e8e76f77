//! CPU time of a client per message, beside a bare tokio client with the same framing by hand.
//!
//! Rounds alternate, each on a fresh connection and a thread of its own, whose CPU time alone counts; what is
//! printed are medians over the rounds, and the medians of each round's ratio to the bare client's time.
//!
//! ```sh
//! cargo run --release -p moorline-net --example client_cpu -- [ROUNDS] [MESSAGES] [PAYLOAD_BYTES]
//! ```

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use moorline_net::client::CloseReason;
use moorline_net::{Client, ClientOptions, ConnectError, Framing, Handler, Length};
use rustix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Messages that are sent together, and then all awaited.
const WINDOWS: [u64; 2] = [1, 32];
const HEADER_BYTES: usize = 4;
const READ_BYTES: usize = 64 * 1024;

/// One load: a number of messages of a size, `window` at a time.
#[derive(Debug, Clone, Copy)]
struct Load {
    server: SocketAddr,
    messages: u64,
    payload_bytes: usize,
    window: u64,
}

type Run = fn(Load) -> Duration;

const CLIENTS: [(&str, Run); 3] = [
    ("bare tokio", |load| on_a_thread("bare", load, bare)),
    ("awaited", |load| on_a_thread("awaited", load, awaited)),
    ("handler", |load| on_a_thread("handler", load, handled)),
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| match arguments.next() {
        Some(text) => text.parse().expect("a number"),
        None => default,
    };
    let (rounds, messages, payload_bytes) = (number(121), number(2_000), number(64));
    let server = echo_server();
    println!("{messages} messages of {payload_bytes} bytes, {rounds} rounds, CPU time per message");
    for window in WINDOWS {
        let load = Load {
            server,
            messages: messages * window.min(8),
            payload_bytes: payload_bytes as usize,
            window,
        };
        let mut times = [const { Vec::new() }; CLIENTS.len()];
        for round in 0..=rounds as usize {
            for turn in 0..CLIENTS.len() {
                // Nobody always follows the same one.
                let which = (turn + round) % CLIENTS.len();
                let time = CLIENTS[which].1(load);
                // The first round warms up.
                if round > 0 {
                    times[which].push(time.as_nanos() as f64 / load.messages as f64);
                }
            }
        }
        for (which, (name, _)) in CLIENTS.iter().enumerate() {
            let ratios = times[which].iter().zip(&times[0]).map(|(a, b)| a / b);
            println!(
                "window {window:>2}  {name:<10}  {:>7.0} ns  × {:.3}",
                median(times[which].clone()),
                median(ratios.collect())
            );
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Sends back whatever comes.
fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let _ = stream.set_nodelay(true);
            std::thread::spawn(move || {
                let mut buffer = vec![0; READ_BYTES];
                while let Ok(bytes @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..bytes]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Runs a client on a thread of its own, and returns the CPU time that the thread took for the messages.
fn on_a_thread<F: Future<Output = Duration>>(
    name: &str,
    load: Load,
    client: fn(Load) -> F,
) -> Duration {
    // Named, so that a profiler tells them apart.
    let thread = std::thread::Builder::new().name(name.into());
    std::thread::scope(|scope| {
        let client = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime starts");
            runtime.block_on(client(load))
        };
        let thread = thread.spawn_scoped(scope, client).expect("a thread starts");
        thread.join().expect("it does not panic")
    })
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

async fn bare(load: Load) -> Duration {
    let mut stream = TcpStream::connect(load.server).await.expect("it connects");
    stream.set_nodelay(true).expect("it is a TCP socket");
    let payload = vec![7; load.payload_bytes];
    let mut output = Vec::new();
    let mut input = vec![0; READ_BYTES];
    let (mut start, mut end) = (0, 0);
    let begun = cpu_time();
    for _ in 0..load.messages / load.window {
        output.clear();
        for _ in 0..load.window {
            output.extend_from_slice(&(payload.len() as u32).to_be_bytes());
            output.extend_from_slice(&payload);
        }
        stream.write_all(&output).await.expect("it is sent");
        let mut received = 0;
        while received < load.window {
            let whole = match input[start..end].first_chunk() {
                Some(size) => u32::from_be_bytes(*size) as usize + HEADER_BYTES,
                None => usize::MAX,
            };
            if end - start >= whole {
                assert_eq!(whole - HEADER_BYTES, payload.len());
                std::hint::black_box(&input[start + HEADER_BYTES..start + whole]);
                start += whole;
                received += 1;
                continue;
            }
            input.copy_within(start..end, 0);
            end -= start;
            start = 0;
            end += stream.read(&mut input[end..]).await.expect("it is read");
        }
    }
    cpu_time() - begun
}

fn client(load: Load) -> Client {
    let address = format!("tcp://{}", load.server);
    let options = ClientOptions::framed(Framing::Length(Length::default()));
    Client::new(address.parse().expect("it is one"), options)
}

async fn awaited(load: Load) -> Duration {
    let mut client = client(load);
    client.connect().await.expect("it connects");
    let payload = vec![7; load.payload_bytes];
    let begun = cpu_time();
    for _ in 0..load.messages / load.window {
        if load.window == 1 {
            client.send(&payload).await.expect("it is sent");
        } else {
            let mut corked = client.cork();
            for _ in 0..load.window {
                corked.send(&payload).await.expect("it is sent");
            }
        }
        for _ in 0..load.window {
            let message = client
                .receive_message()
                .await
                .expect("it is read")
                .expect("it is there");
            assert_eq!(message.len(), payload.len());
            std::hint::black_box(&message[..]);
        }
    }
    cpu_time() - begun
}

async fn handled(load: Load) -> Duration {
    struct Echo {
        load: Load,
        payload: Vec<u8>,
        received: u64,
        begun: Duration,
        took: Duration,
    }

    impl Echo {
        fn send(&self, client: &mut Client) {
            for _ in 0..self.load.window {
                client.try_send(&self.payload).expect("there is room");
            }
        }
    }

    impl Handler for Echo {
        fn connected(&mut self, client: &mut Client) {
            self.begun = cpu_time();
            self.send(client);
        }

        fn message(&mut self, client: &mut Client, message: &[u8]) {
            assert_eq!(message.len(), self.payload.len());
            std::hint::black_box(message);
            self.received += 1;
            if self.received == self.load.messages {
                self.took = cpu_time() - self.begun;
                client.start_close();
            } else if self.received.is_multiple_of(self.load.window) {
                self.send(client);
            }
        }

        fn closed(&mut self, _: &mut Client, _: &CloseReason) {}

        fn error(&mut self, _: &mut Client, error: &ConnectError) {
            panic!("{error}");
        }
    }

    let mut echo = Echo {
        load,
        payload: vec![7; load.payload_bytes],
        received: 0,
        begun: Duration::ZERO,
        took: Duration::ZERO,
    };
    client(load).run(&mut echo).await;
    echo.took
}
