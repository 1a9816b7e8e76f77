//! Peers of all sorts, and a resolver that says what it is told to.

use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use moorline_net::dial::{Step, StepKind};
use moorline_net::resolve::{Answer, Families, Lookup, Lookups};
use moorline_net::{Address, ConnectError, DialOptions, Dialer, ResolveError, Resolver};
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// Far more than anything here takes on a busy machine, for what must not hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn address(text: impl AsRef<str>) -> Address {
    text.as_ref()
        .parse()
        .expect("the tests write addresses right")
}

pub(crate) fn dialer() -> Dialer {
    Dialer::new(DialOptions::default())
}

/// A dialer whose dials end after this many milliseconds.
pub(crate) fn hasty(milliseconds: u64) -> Dialer {
    Dialer::new(DialOptions::default().deadline(Duration::from_millis(milliseconds)))
}

/// A listener on a port of its own, and its address.
pub(crate) async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A port that is taken, but not listened on: it refuses as long as this lives.
pub(crate) fn refusing() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// A listener whose backlog is full: connecting to it hangs as long as this lives.
#[derive(Debug)]
pub(crate) struct Full {
    pub(crate) address: SocketAddr,
    _listener: Socket,
    _waiting: Vec<TcpStream>,
}

pub(crate) async fn full(ip: &str) -> Full {
    let ip: IpAddr = ip.parse().unwrap();
    let listener = Socket::new(Domain::for_address((ip, 0).into()), Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from((ip, 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    // The kernel takes one more than it was told; what it does not take does not connect.
    while let Ok(stream) =
        tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await
    {
        waiting.push(stream.unwrap());
    }
    Full {
        address,
        _listener: listener,
        _waiting: waiting,
    }
}

/// What a [`Told`] resolver says.
pub(crate) type Says = Result<Vec<&'static str>, ResolveError>;

/// Says what it is told to, about every name.
#[derive(Debug, Clone)]
pub(crate) enum Told {
    Together(Says),
    /// IPv6 and IPv4, each after that many milliseconds.
    Apart((u64, Says), (u64, Says)),
    Never,
}

impl Resolver for Told {
    fn look_up(&self, _name: &str, _families: Families) -> Lookups {
        match self.clone() {
            Self::Together(says) => Lookups::Together(lookup(0, says)),
            Self::Apart((after6, ipv6), (after4, ipv4)) => Lookups::Apart {
                ipv6: lookup(after6, ipv6),
                ipv4: lookup(after4, ipv4),
            },
            Self::Never => Lookups::Together(Box::pin(pending())),
        }
    }
}

fn lookup(after: u64, says: Says) -> Lookup {
    Box::pin(async move {
        if after > 0 {
            tokio::time::sleep(Duration::from_millis(after)).await;
        }
        let addresses = says?.iter().map(|text| text.parse().unwrap()).collect();
        Ok(Answer::new(addresses))
    })
}

pub(crate) fn not_found() -> ResolveError {
    ResolveError::NotFound {
        name: "name.test".into(),
        ttl: None,
    }
}

/// A refusal with how long it took.
pub(crate) async fn refusal(dialer: &Dialer, to: &Address) -> (ConnectError, Duration) {
    let started = Instant::now();
    let dialed = tokio::time::timeout(PATIENCE, dialer.connect(to)).await;
    let error = dialed
        .expect("a dial ends by itself")
        .expect_err("this dial fails");
    (error, started.elapsed())
}

/// Each step's kind, target and outcome.
pub(crate) fn steps(steps: &[Step]) -> Vec<(StepKind, String, String)> {
    let told = |step: &Step| (step.kind, step.target.to_string(), step.outcome.to_string());
    steps.iter().map(told).collect()
}

/// How the system words this error.
pub(crate) fn words(errno: rustix::io::Errno) -> String {
    io::Error::from(errno).to_string()
}
