//! What the probe knows of itself and its session, and what its rights allow.

use std::fs::File;

use moorline::net::{Address, DialOptions, Dialer};
use moorline::{Context, Result};

use super::order::Order;

/// The commands about this.
pub(super) const COMMANDS: &[&str] = &[
    "pid",
    "recycle",
    "try-open",
    "try-connect",
    "try-rise",
    "log",
    "log-later",
    "dial",
    "slot",
    "nodes",
    "leader",
    "generation",
    "build",
    "greeting",
    "id",
    "listener",
    "peer",
    "tls",
];

/// Carries out one of them.
pub(super) fn obey(order: &mut Order<'_>) -> Result<String> {
    let Order {
        probe,
        session,
        context,
        ..
    } = *order;
    Ok(match order.command {
        "pid" => std::process::id().to_string(),
        "recycle" => format!("{:?}", context.recycle()),
        "try-open" => match File::open(order.word()) {
            Ok(_) => "opened".to_owned(),
            Err(error) => format!("{:?}", error.kind()),
        },
        "try-connect" => match std::os::unix::net::UnixStream::connect(order.word()) {
            Ok(_) => "connected".to_owned(),
            Err(error) => format!("{:?}", error.kind()),
        },
        "try-rise" => match nix::unistd::setuid(nix::unistd::Uid::from_raw(0)) {
            Ok(()) => "root".to_owned(),
            Err(error) => error.to_string(),
        },
        "nodes" => nodes(context),
        "log" => {
            tracing::warn!("the app says {}", order.word());
            "logged".to_owned()
        }
        "log-later" => {
            let text = order.word().to_owned();
            tokio::task::spawn_local(async move { tracing::warn!("the app says {text}") });
            "logged".to_owned()
        }
        "dial" => {
            let address: Address = order.word().parse()?;
            tokio::task::spawn_local(async move {
                let connected = Dialer::new(DialOptions::default()).connect(&address).await;
                tracing::warn!("the app has dialed {address}: {}", connected.is_ok());
            });
            "dials".to_owned()
        }
        "slot" => context.slot().to_string(),
        "leader" => context.leader().to_string(),
        "generation" => context.generation().to_string(),
        "build" => probe.build.to_owned(),
        "greeting" => probe.settings.greeting.clone(),
        "id" => session.id().to_string(),
        "listener" => session.listener().to_owned(),
        "peer" => session.peer().to_string(),
        "tls" => session.tls().map_or("none".to_owned(), |tls| {
            let alpn = tls.alpn.as_deref().unwrap_or("-");
            let certificate = tls.certificate.as_ref().map_or("-".to_owned(), |der| {
                der.iter().map(|byte| format!("{byte:02x}")).collect()
            });
            let handshake = if tls.is_resumed { "resumed" } else { "full" };
            format!("{}, {alpn}, {handshake}, {certificate}", tls.version)
        }),
        _ => return Err("an unknown command".into()),
    })
}

/// The other nodes of the cluster, as `number=name`.
fn nodes(context: &Context) -> String {
    let nodes = context.nodes().into_iter();
    let nodes: Vec<_> = nodes
        .map(|it| format!("{}={}", it.number, it.name))
        .collect();
    nodes.join(" ")
}
