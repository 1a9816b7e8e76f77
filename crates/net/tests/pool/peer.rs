//! The other side: a TCP server that answers, and closes or speaks when it is told to.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use moorline_net::{Address, DialOptions, PoolKey, Pooled};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

/// Long enough for a busy machine; only a failing test waits it out.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Peer {
    address: SocketAddr,
    orders: watch::Sender<Order>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    accepted: AtomicUsize,
    open: AtomicUsize,
}

#[derive(Clone, Copy)]
enum Order {
    Serve,
    Close,
    Say,
}

#[derive(Clone, Copy)]
struct Manners {
    answers: bool,
    patience: Duration,
}

impl Peer {
    /// Answers with what it gets.
    pub(crate) async fn echo() -> Self {
        Self::with(true, Duration::MAX).await
    }

    /// Never answers.
    pub(crate) async fn silent() -> Self {
        Self::with(false, Duration::MAX).await
    }

    /// Answers, and closes when nothing has come for so long.
    pub(crate) async fn closing_idle_after(patience: Duration) -> Self {
        Self::with(true, patience).await
    }

    async fn with(answers: bool, patience: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (orders, _) = watch::channel(Order::Serve);
        let counts = Arc::new(Counts::default());
        let (to_serve, counted) = (orders.clone(), counts.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.accepted.fetch_add(1, Ordering::SeqCst);
                counted.open.fetch_add(1, Ordering::SeqCst);
                let (orders, counts) = (to_serve.subscribe(), counted.clone());
                let manners = Manners { answers, patience };
                tokio::spawn(async move {
                    let _ = serve(stream, orders, manners).await;
                    counts.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            orders,
            counts,
        }
    }

    pub(crate) fn key(&self) -> PoolKey {
        key_of(self.address)
    }

    pub(crate) fn address(&self) -> Address {
        format!("tcp://{}", self.address).parse().unwrap()
    }

    /// Closes every connection that is open.
    pub(crate) fn close_all(&self) {
        self.orders.send_replace(Order::Close);
    }

    /// Sends `stray` on every connection that is open.
    pub(crate) fn say_to_all(&self) {
        self.orders.send_replace(Order::Say);
    }

    pub(crate) fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::SeqCst)
    }

    pub(crate) fn open(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }
}

async fn serve(
    mut stream: TcpStream,
    mut orders: watch::Receiver<Order>,
    manners: Manners,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 4096];
    loop {
        tokio::select! {
            read = timeout(manners.patience, stream.read(&mut buffer)) => match read {
                Err(_) | Ok(Ok(0)) => return Ok(()),
                Ok(Ok(bytes)) if manners.answers => stream.write_all(&buffer[..bytes]).await?,
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error),
            },
            changed = orders.changed() => {
                changed.map_err(io::Error::other)?;
                let order = *orders.borrow_and_update();
                match order {
                    Order::Close => return Ok(()),
                    Order::Say => stream.write_all(b"stray").await?,
                    Order::Serve => {}
                }
            }
        }
    }
}

pub(crate) fn key_of(address: SocketAddr) -> PoolKey {
    let address = format!("tcp://{address}").parse().unwrap();
    PoolKey::new(address, DialOptions::default())
}

/// Sends a few bytes and reads them back.
pub(crate) async fn echo(connection: &mut Pooled) -> io::Result<()> {
    connection.write_all(b"ahoy").await?;
    let mut answer = [0; 4];
    timeout(PATIENCE, connection.read_exact(&mut answer)).await??;
    assert_eq!(&answer, b"ahoy");
    Ok(())
}

/// Waits until bytes, or the end, have arrived at a socket.
pub(crate) async fn readable(socket: &OwnedFd) {
    let watched = std::net::TcpStream::from(socket.try_clone().unwrap());
    let watched = TcpStream::from_std(watched).unwrap();
    timeout(PATIENCE, watched.readable())
        .await
        .unwrap()
        .unwrap();
}

/// Waits until it is so, looking at each turn of the loop.
pub(crate) async fn until(is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "it never became so");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
