//! Measures the pool against a peer that closes connections after exactly the pool's `max_idle`.
//!
//! `cargo run --release -p moorline-net --example pool_reuse -- [requests] [idle_ms] [lead_ms]`
//!
//! Each of 64 tasks, with a connection of its own, borrows, asks, reads the answer, gives back and rests: mostly not at
//! all, and every so often until about the last moment at which the pool lends the connection again, so that many a
//! request comes as late as the pool lets it. A request on a reused connection that fails is what a fresh one would not
//! have done. Without a lead, and with the look before lending alone, the window between look and arrival shows.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moorline_net::{DialOptions, Pool, PoolError, PoolKey, PoolOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const TASKS: u64 = 64;
const QUESTION: &[u8; 32] = b"a question of thirty-two bytes..";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| {
        arguments
            .next()
            .map_or(Ok(default), |argument| argument.parse())
    };
    let requests = number(1_000_000)?;
    let idle = Duration::from_millis(number(100)?);
    let lead = Duration::from_millis(number(25)?);
    // The peer has a thread of its own, as a peer has.
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, idle));
                }
            }
        });
    });
    let address = told.recv()?;
    let key = PoolKey::new(format!("tcp://{address}").parse()?, DialOptions::default());
    for (name, max_idle, lead) in [
        ("pool", idle, lead),
        // For comparison: no lead, and no expiry at all.
        ("no lead", idle, Duration::ZERO),
        ("peek only", Duration::from_secs(3600), Duration::ZERO),
    ] {
        let pool = Pool::new(PoolOptions::default().max_idle(max_idle).lead(lead));
        let began = Instant::now();
        let (answered, failed) =
            runtime().block_on(ask(&pool, &key, requests, idle.saturating_sub(lead)));
        let took = began.elapsed();
        println!(
            "{name}: {answered} answered, {failed} failed on a reused connection, {:.0}/s, {:?}",
            answered as f64 / took.as_secs_f64(),
            pool.counters()
        );
    }
    Ok(())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Answers, and closes when nothing has come for exactly so long.
async fn serve(mut stream: TcpStream, idle: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut question = [0; QUESTION.len()];
    loop {
        match tokio::time::timeout(idle, stream.read_exact(&mut question)).await {
            Ok(read) => read?,
            Err(_) => return Ok(()),
        };
        stream.write_all(&question).await?;
    }
}

async fn ask(pool: &Pool, key: &PoolKey, requests: u64, edge: Duration) -> (u64, u64) {
    let answered = Arc::new(AtomicU64::new(0));
    let failed = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            // Each has a connection of its own, which rests when it does.
            let (pool, key) = (pool.clone(), key.clone().with_id(task.to_string()));
            let (answered, failed) = (answered.clone(), failed.clone());
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(task);
                for _ in 0..requests / TASKS {
                    match one(&pool, &key).await {
                        Ok(()) => answered.fetch_add(1, Ordering::Relaxed),
                        Err(Failure::Reused) => failed.fetch_add(1, Ordering::Relaxed),
                        Err(Failure::Other(error)) => panic!("{error}"),
                    };
                    // One in 50 rests until about the edge: two milliseconds to either side.
                    if random.u32(0..50) == 0 {
                        let rest = edge + Duration::from_micros(random.u64(0..4_000));
                        let rest = rest.saturating_sub(Duration::from_millis(2));
                        tokio::time::sleep(rest).await;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a task that does not panic");
    }
    let now = |count: &AtomicU64| count.load(Ordering::Relaxed);
    (now(&answered), now(&failed))
}

enum Failure {
    /// On a reused connection.
    Reused,
    Other(Box<dyn std::error::Error + Send + Sync>),
}

async fn one(pool: &Pool, key: &PoolKey) -> Result<(), Failure> {
    let mut connection = pool
        .borrow(key)
        .await
        .map_err(|error: PoolError| Failure::Other(error.into()))?;
    let asked = async {
        connection.write_all(QUESTION).await?;
        connection.read_exact(&mut [0; QUESTION.len()]).await
    }
    .await;
    match asked {
        Ok(_) => Ok(()),
        Err(_) if connection.reused() => Err(Failure::Reused),
        Err(error) => Err(Failure::Other(error.into())),
    }
}
