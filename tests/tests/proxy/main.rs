//! Listeners that relay to the peers of an upstream.

mod access;
mod access_logs;
mod balancing;
mod checks;
mod commands;
mod destinations;
mod endurance;
mod failures;
mod greeting;
mod hello;
mod limits;
mod listener_certificates;
mod maps;
mod names;
mod own_addresses;
mod peer_certificates;
mod peer_tls;
mod rates;
mod relaying;
mod reload;
mod resolving;
mod servers;
mod stop;
mod storm;
mod tls;
mod tls_clients;
mod udp;
mod udp_failures;
mod udp_sessions;
mod without_workers;

use std::fmt::Write;
use std::net::{SocketAddr, TcpStream};

use moorline_tests::{Engine, PATIENCE};

/// A configuration whose listener relays to these peers, with these further keys for both.
fn config(listen: &str, upstream: &str, peers: &[SocketAddr]) -> String {
    let mut list = String::new();
    for peer in peers {
        write!(list, "\"tcp://{peer}\", ").expect("a string takes it");
    }
    format!(
        "[engine]\ngateway_loops = 2\n[workers]\ncount = 1\n[[listen]]\nname = \"front\"\naddress = \"tcp://127.0.0.1:0\"\n\
         upstream = \"back\"\n{listen}\n[upstream.back]\npeers = [{list}]\n{upstream}\n"
    )
}

/// A client of the first listener.
#[track_caller]
fn connect(engine: &Engine) -> TcpStream {
    let stream = TcpStream::connect(engine.socket_address(0)).expect("the listener accepts");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a time that is not zero");
    stream
}
