//! A client that is looked after: lines to and from a server, reconnecting for as long as it takes.
//!
//! ```text
//! cargo run --example client -- tcp://127.0.0.1:9501
//! ```
//!
//! Stop the server and start it again: what is typed meanwhile is sent then.

use std::env;
use std::error::Error;

use moorline::net::client::{CloseReason, Reconnect, Sender, Unsent};
use moorline::net::{Address, Client, ClientOptions, ConnectError, Framing, Handler};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1);
    let address: Address = address
        .as_deref()
        .unwrap_or("tcp://127.0.0.1:9501")
        .parse()?;
    let client = Client::new(
        address,
        ClientOptions::framed(Framing::Line { max: 64 << 10 })
            // From 100 ms on doubling up to 30 s, each shortened at random.
            .reconnect(Some(Reconnect::default().queue(Unsent::Keep))),
    );
    let running = client.start(Printer);
    send_lines(&running).await?;
    // Closes once what was typed is sent; answers that are on their way by then are not waited for.
    running.close();
    running.ended().await?;
    Ok(())
}

/// Sends what is typed. Waits while the server is slow, so that the keyboard's queue is the only long one.
async fn send_lines(sender: &Sender) -> Result<(), Box<dyn Error>> {
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        sender.send(line.as_bytes()).await?;
    }
    Ok(())
}

/// Prints what happens.
struct Printer;

impl Handler for Printer {
    fn connected(&mut self, client: &mut Client) {
        eprintln!("connected, attempt {}", client.attempt());
    }

    fn message(&mut self, _client: &mut Client, message: &[u8]) {
        println!("{}", String::from_utf8_lossy(message));
    }

    fn closed(&mut self, _client: &mut Client, reason: &CloseReason) {
        eprintln!("{reason}");
    }

    fn error(&mut self, _client: &mut Client, error: &ConnectError) {
        eprintln!("{error}");
    }
}
