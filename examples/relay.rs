//! Two streams joined both ways: a client that connects here talks to another server.
//!
//! ```text
//! cargo run --example relay -- 127.0.0.1:9600 tcp://127.0.0.1:9501
//! ```

use std::env;
use std::error::Error;
use std::time::Duration;

use moorline::net::{Address, DialOptions, Dialer, Relay};
use tokio::net::{TcpListener, TcpStream};

/// A relay on which nothing moves for this time is closed.
const IDLE: Duration = Duration::from_secs(300);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let here = arguments.next();
    let there = arguments.next();
    let there: Address = there.as_deref().unwrap_or("tcp://127.0.0.1:9501").parse()?;
    let listener = TcpListener::bind(here.as_deref().unwrap_or("127.0.0.1:9600")).await?;
    println!("{}", listener.local_addr()?);
    let dialer = Dialer::new(DialOptions::default());
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(relay(stream, dialer.clone(), there.clone()));
    }
}

async fn relay(stream: TcpStream, dialer: Dialer, there: Address) {
    match dialer.connect(&there).await {
        Ok(connection) => {
            let relay = Relay::new(stream, connection).with_idle_timeout(IDLE);
            let relayed = relay.run().await;
            println!(
                "{} bytes there, {} back, {:?}",
                relayed.ahead, relayed.back, relayed.end
            );
        }
        // Dropping the stream closes it.
        Err(error) => eprintln!("{error}"),
    }
}
