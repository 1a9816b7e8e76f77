//! A dial that is dropped, wherever it is, leaves no descriptor behind. Alone in this file, and so in its
//! process, since it counts the descriptors of the whole process.

use std::fs;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use moorline_net::resolve::{Answer, Families, Lookups};
use moorline_net::tls::{TlsOptions, Verification};
use moorline_net::{Address, DialOptions, Dialer, Resolver};
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const DIALS: u64 = 10_000;
/// At once: well under the 1024 descriptors that a process may open by default.
const WAVE: u64 = 200;

/// One address that answers and one that hangs, half a millisecond apart.
#[derive(Debug)]
struct Slow;

impl Resolver for Slow {
    fn look_up(&self, _name: &str, _families: Families) -> Lookups {
        Lookups::Apart {
            ipv6: Box::pin(pending()),
            ipv4: Box::pin(async {
                tokio::time::sleep(Duration::from_micros(500)).await;
                Ok(Answer::new(vec![
                    "127.0.0.1".parse().unwrap(),
                    "127.0.0.2".parse().unwrap(),
                ]))
            }),
        }
    }
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// A listener that accepts nobody, with room for one.
fn full() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

#[test]
fn ten_thousand_cancelled_dials_leak_none() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (_full, hangs) = full();
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = silent.local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let unix = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        unix.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
        unix.listen(0).unwrap();

        let options = DialOptions::default()
            .attempt_delay(Duration::from_millis(10))
            .resolution_delay(Duration::from_millis(1))
            .tls(TlsOptions::default().verification(Verification::DangerouslyNone));
        let plain = Dialer::new(options.clone()).with_resolver(Arc::new(Slow));
        let proxied = Dialer::new(options.via(Some(format!("socks5://{silent}").parse().unwrap())));
        let targets: [(Dialer, Address); 5] = [
            (plain.clone(), format!("tcp://{hangs}").parse().unwrap()),
            (
                plain.clone(),
                format!("tcp://name.test:{}", hangs.port()).parse().unwrap(),
            ),
            (plain.clone(), format!("tls://{silent}").parse().unwrap()),
            (plain.clone(), Address::Unix(path)),
            (proxied, "tcp://name.test:80".parse().unwrap()),
        ];

        let before = descriptors();
        let mut dials = JoinSet::new();
        for number in 0..DIALS {
            let (dialer, to) = targets[number as usize % targets.len()].clone();
            // Somewhere on its way: before the first step, in a look-up, an attempt, a handshake.
            let patience = Duration::from_micros(number * 7919 % 4000);
            dials.spawn(async move {
                let _ = tokio::time::timeout(patience, dialer.connect(&to)).await;
            });
            if dials.len() as u64 == WAVE {
                while dials.join_next().await.is_some() {}
            }
        }
        while dials.join_next().await.is_some() {}
        assert_eq!(descriptors(), before);
    });
}
