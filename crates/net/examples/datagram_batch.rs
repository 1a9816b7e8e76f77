//! Measures what a datagram costs when it is sent and received alone, and with others in one system call.
//!
//! `cargo run --release -p moorline-net --example datagram_batch -- [datagrams]`
//!
//! One thread sends to itself over the loopback, so its CPU time is that of both directions. Rounds alternate; medians.

use std::error::Error;
use std::time::Duration;

use moorline_net::{Batch, DatagramClient, DialOptions, Peer};
use rustix::time::{ClockId, clock_gettime};

const ROUNDS: usize = 9;
/// As many as fit a socket's default buffer at the larger size.
const AT_ONCE: usize = 32;

fn main() -> Result<(), Box<dyn Error>> {
    let datagrams: usize = match std::env::args().nth(1) {
        Some(argument) => argument.parse()?,
        None => 100_000,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        for size in [64, 1400] {
            let payload = vec![7u8; size];
            let (one, other) = (bound()?, bound()?);
            let peer = other.own()?;
            let mut costs = [Vec::new(), Vec::new(), Vec::new()];
            for _ in 0..ROUNDS {
                costs[0].push(singly(&one, &other, &peer, &payload, datagrams).await?);
                for (costs, batch) in costs[1..].iter_mut().zip([8, AT_ONCE]) {
                    costs.push(together(&one, &other, &peer, &payload, datagrams, batch).await?);
                }
            }
            let [single, eight, many] = costs.map(median);
            println!(
                "{size} bytes: alone {single:.2} µs, 8 at once {eight:.2} µs ({:.2}), {AT_ONCE} at once {many:.2} µs ({:.2})",
                eight / single,
                many / single
            );
        }
        Ok(())
    })
}

fn bound() -> Result<DatagramClient, Box<dyn Error>> {
    let own = "udp://127.0.0.1:0".parse()?;
    Ok(DatagramClient::bind(&own, &DialOptions::default())?)
}

/// Microseconds of CPU for a datagram.
async fn singly(
    one: &DatagramClient,
    other: &DatagramClient,
    peer: &Peer,
    payload: &[u8],
    datagrams: usize,
) -> Result<f64, Box<dyn Error>> {
    let mut buffer = vec![0; 2048];
    let began = cpu();
    for _ in 0..datagrams / AT_ONCE {
        for _ in 0..AT_ONCE {
            one.send_to(payload, peer).await?;
        }
        for _ in 0..AT_ONCE {
            other.receive(&mut buffer).await?;
        }
    }
    Ok(each(began, datagrams))
}

async fn together(
    one: &DatagramClient,
    other: &DatagramClient,
    peer: &Peer,
    payload: &[u8],
    datagrams: usize,
    at_once: usize,
) -> Result<f64, Box<dyn Error>> {
    let sent: Vec<_> = (0..at_once)
        .map(|_| (payload, Some(peer.clone())))
        .collect();
    let mut batch = Batch::new(at_once, 2048);
    let began = cpu();
    for _ in 0..datagrams / at_once {
        one.send_batch(&sent).await?;
        let mut received = 0;
        while received < at_once {
            received += other.receive_batch(&mut batch).await?;
        }
    }
    Ok(each(began, datagrams))
}

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn each(began: Duration, datagrams: usize) -> f64 {
    (cpu() - began).as_secs_f64() * 1e6 / datagrams as f64
}

fn median(mut costs: Vec<f64>) -> f64 {
    costs.sort_by(f64::total_cmp);
    costs[costs.len() / 2]
}
