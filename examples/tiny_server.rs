//! A server in one process, for tests and small tools: it answers each line with the line.
//!
//! ```text
//! cargo run --example tiny_server -- tcp://127.0.0.1:9501
//! ```
//!
//! What is to outlive its own deployment is an app instead, behind the engine: see `echo.rs`.

use std::env;
use std::error::Error;

use moorline::net::client::CloseReason;
use moorline::net::{
    Client, ClientOptions, ConnectError, EventLoopPool, Framing, Handler, Listener,
    ListenerOptions, LoopPoolOptions,
};

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1);
    let address = address
        .as_deref()
        .unwrap_or("tcp://127.0.0.1:9501")
        .parse()?;
    let pool = EventLoopPool::start(LoopPoolOptions::default())?;
    let options =
        ListenerOptions::default().session(ClientOptions::framed(Framing::Line { max: 64 << 10 }));
    let mut listener = Listener::start(&pool, &address, options, |_| Echo)?;
    println!("{}", listener.address());
    tokio::runtime::Builder::new_current_thread()
        .build()?
        .block_on(listener.ended());
    Ok(())
}

/// One connection's session.
struct Echo;

impl Handler for Echo {
    fn connected(&mut self, _session: &mut Client) {}

    fn message(&mut self, session: &mut Client, message: &[u8]) {
        if session.try_send(message).is_err() {
            // It asks faster than it reads answers.
            session.close_now();
        }
    }

    fn closed(&mut self, _session: &mut Client, _reason: &CloseReason) {}

    fn error(&mut self, _session: &mut Client, _error: &ConnectError) {}
}
