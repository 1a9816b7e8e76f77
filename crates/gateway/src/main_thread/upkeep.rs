//! What upstreams need beside their connections: look-ups of names, and checks of peers.
//!
//! Both run on the main thread, so that neither keeps a loop waiting. Results go straight into the shared upstreams.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use moorline_config::Exchange;
use moorline_net::HostPort;
use moorline_proxy::{Answer, Failure, PeerAddress, Probe, Turn};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket, UnixStream};

use crate::clock::Clock;
use crate::commands::{Command, Inbox};
use crate::main_thread::resolvers::Resolvers;
use crate::own_address::{OpenFault, OwnAddress};
use crate::peer_tls::host_of;
use crate::proxy_header::writer;
use crate::relay::connecting::is_local;
use crate::shared::Shared;
use crate::udp_relay::socket;
use crate::upstreams::{Due, Encryption, LookedUp, Opening, SharedUpstream};

/// Looks names up and checks peers as they become due, as long as the process lives.
pub(crate) async fn look_after_upstreams(shared: Arc<Shared>, loops: Arc<[Inbox]>) {
    let resolvers = Rc::new(Resolvers::default());
    loop {
        let Due {
            names,
            probes,
            next,
        } = shared.upstreams.take_due(Clock::shared_now());
        for (upstream, name) in names {
            tokio::task::spawn_local(resolve(shared.clone(), resolvers.clone(), upstream, name));
        }
        for (upstream, probe) in probes {
            tokio::task::spawn_local(check(shared.clone(), loops.clone(), upstream, probe));
        }
        let pause = next.map(|at| Duration::from_millis(at.saturating_sub(Clock::shared_now())));
        // Its changes are noticed: a reload, and what has just ended.
        let changed = shared.upstreams.changed();
        match pause {
            // Not at once again, even if the clocks differ by a little.
            Some(pause) => {
                let pause = pause.max(Duration::from_millis(1));
                let _ = tokio::time::timeout(pause, changed).await;
            }
            None => changed.await,
        }
    }
}

/// Looks one name up.
async fn resolve(
    shared: Arc<Shared>,
    resolvers: Rc<Resolvers>,
    upstream: Arc<SharedUpstream>,
    name: HostPort,
) {
    let rules = upstream.resolver();
    // The system's resolver tells no times to live.
    let is_of_system = rules.is_none() && name.port != 0;
    let (looked_up, again) = resolvers.look_up(rules, &name).await;
    let found = match &looked_up {
        LookedUp::Found(found) if is_of_system => found.clone(),
        _ => Vec::new(),
    };
    let now = Clock::shared_now();
    upstream.answered(&name, looked_up, now, again);
    shared.upstreams.note_change();
    // Nobody waits for this.
    if let Some(ttl) = resolvers.time_to_live(&name.host, &found).await {
        upstream.holds(&name, now + ttl.as_millis() as u64);
        shared.upstreams.note_change();
    }
}

/// Checks one peer. If it is taken out, connections that have had nothing from it leave it.
async fn check(
    shared: Arc<Shared>,
    loops: Arc<[Inbox]>,
    upstream: Arc<SharedUpstream>,
    probe: Probe,
) {
    let attempt = attempt(&probe, &upstream);
    let result = match tokio::time::timeout(probe.timeout, attempt).await {
        Ok(result) => result,
        Err(_) => Err(Failure::TimedOut),
    };
    let now = Clock::shared_now();
    match result {
        Err(error) if is_local(error) => {
            tracing::debug!(upstream = %upstream.name, peer = %probe.address, %error, "check could not be made");
            upstream.unchecked(probe.peer, now);
        }
        result => {
            if upstream.checked((probe.peer, &probe.address), now, result) == Some(Turn::Unhealthy)
            {
                for inbox in &*loops {
                    let (upstream, peer) = (upstream.clone(), probe.peer);
                    inbox.send_soon(Command::LeavePeer { upstream, peer });
                }
            }
        }
    }
    shared.upstreams.note_change();
}

/// Whether a peer takes a connection, and answers as expected.
async fn attempt(probe: &Probe, upstream: &SharedUpstream) -> Result<(), Failure> {
    let opening = upstream.opening();
    let own = opening.bind.as_deref().and_then(OwnAddress::of_checks);
    match &probe.address {
        PeerAddress::Tcp(address) => {
            let stream = connect(*address, own).await?;
            open_up(stream, probe, upstream, &opening).await
        }
        PeerAddress::Udp(address) => {
            let exchange = probe.exchange.as_ref();
            exchange_datagrams(*address, own, exchange).await
        }
        PeerAddress::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(failure)?;
            open_up(stream, probe, upstream, &opening).await
        }
    }
}

/// Sends what goes before everything else, and shakes hands.
async fn open_up(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    probe: &Probe,
    upstream: &SharedUpstream,
    opening: &Opening,
) -> Result<(), Failure> {
    if let Some(version) = opening.header {
        // The check is the engine's own connection.
        let header = writer::write(version, None);
        stream.write_all(&header).await.map_err(failure)?;
    }
    if !probe.is_encrypted {
        return await_answer(stream, probe.exchange.as_ref()).await;
    }
    let Encryption::Ready(tls) = &opening.tls else {
        return Err(Failure::Tls);
    };
    let named = upstream.server_name();
    let host = named.as_deref().or_else(|| host_of(&probe.entry));
    let connector = tls.of(&probe.address, None).connector();
    // Only where nothing is verified there may be no name; this one is never sent.
    let shaken = connector.connect(host.unwrap_or("0.0.0.0"), stream).await;
    match shaken {
        Ok(stream) => await_answer(stream, probe.exchange.as_ref()).await,
        Err(error) => {
            tracing::debug!(upstream = %upstream.name, peer = %probe.address, %error, "tls handshake of a check failed");
            Err(Failure::Tls)
        }
    }
}

fn failure(error: io::Error) -> Failure {
    Failure::System(error.raw_os_error().unwrap_or_default())
}

async fn connect(address: SocketAddr, own: Option<OwnAddress>) -> Result<TcpStream, Failure> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = socket.map_err(failure)?;
    if let Some(own) = own {
        own.put_on(&socket, &address).map_err(OpenFault::failure)?;
    }
    socket.connect(address).await.map_err(failure)
}

/// Sends what the check sends in one datagram, and waits for one that has what is expected in it.
async fn exchange_datagrams(
    address: SocketAddr,
    own: Option<OwnAddress>,
    exchange: Option<&Exchange>,
) -> Result<(), Failure> {
    // The configuration has seen to it.
    let Some(exchange) = exchange else {
        return Ok(());
    };
    let socket = socket::connect(&address, own).map_err(OpenFault::failure)?;
    let socket = UdpSocket::from_std(socket.into()).map_err(failure)?;
    socket.send(&exchange.send).await.map_err(failure)?;
    let mut buffer = vec![0; 1 << 16];
    let length = socket.recv(&mut buffer).await.map_err(failure)?;
    let mut answer = Answer::new(exchange);
    let result = answer.add(&buffer[..length]);
    result.unwrap_or(Err(Failure::Unexpected))
}

/// Sends what the check sends, and reads until the answer says enough.
async fn await_answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    exchange: Option<&Exchange>,
) -> Result<(), Failure> {
    let Some(exchange) = exchange else {
        return Ok(());
    };
    stream.write_all(&exchange.send).await.map_err(failure)?;
    let mut answer = Answer::new(exchange);
    let mut buffer = [0; 1024];
    loop {
        let read = stream.read(&mut buffer).await.map_err(failure)?;
        if read == 0 {
            return Err(answer.end());
        }
        if let Some(result) = answer.add(&buffer[..read]) {
            return result;
        }
    }
}
