//! Clients that ask again and again, each when it has its answer.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::LocalSet;

use crate::Result;
use crate::server::Measured;

/// Before each turn is measured: what the other server's turn has displaced from the caches comes back.
const WARM_UP: Duration = Duration::from_millis(300);

/// One of the clients.
pub trait Client {
    /// Asks, and checks the answer.
    fn exchange(&mut self) -> impl Future<Output = Result>;
}

/// What was measured in one turn.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// Microseconds of CPU time that the server spent for an answer.
    pub cpu_us: f64,
    /// Microseconds that half of the answers took at the most.
    pub p50_us: f64,
}

/// Does all this on one thread.
pub fn run<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, work)
}

/// Gives a server a turn of this length.
pub async fn turn<C: Client + 'static>(
    server: &Measured,
    clients: Vec<C>,
    length: Duration,
) -> Result<Turn> {
    let (is_measured, is_over) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
    let latencies = Rc::new(RefCell::new(Vec::with_capacity(1 << 20)));
    let ask = |mut client: C| {
        let (is_measured, is_over) = (is_measured.clone(), is_over.clone());
        let latencies = latencies.clone();
        tokio::task::spawn_local(async move {
            while !is_over.get() {
                let begun = Instant::now();
                client.exchange().await.map_err(|error| error.to_string())?;
                if is_measured.get() {
                    latencies.borrow_mut().push(begun.elapsed());
                }
            }
            Ok::<_, String>(())
        })
    };
    let tasks: Vec<_> = clients.into_iter().map(ask).collect();
    tokio::time::sleep(WARM_UP).await;
    let before = server.cpu_time()?;
    is_measured.set(true);
    tokio::time::sleep(length).await;
    is_measured.set(false);
    let spent = server.cpu_time()? - before;
    is_over.set(true);
    for task in tasks {
        task.await??;
    }
    let mut latencies = latencies.take();
    latencies.sort_unstable();
    let p50 = latencies.get(latencies.len() / 2);
    let p50 = p50.ok_or("no answer came")?;
    Ok(Turn {
        cpu_us: spent.as_secs_f64() * 1e6 / latencies.len() as f64,
        p50_us: p50.as_secs_f64() * 1e6,
    })
}
