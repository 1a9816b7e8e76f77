//! A client without a runtime: one request and its answer, with a timeout for each call.
//!
//! ```text
//! cargo run --example blocking -- tcp://127.0.0.1:9501 ahoy
//! ```

use std::env;
use std::error::Error;
use std::time::Duration;

use moorline::net::Framing;
use moorline::net::blocking::{Client, ClientOptions, Timeout};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next();
    let words = arguments.next().unwrap_or_else(|| "ahoy".to_owned());
    let mut client = Client::connect(
        &address
            .as_deref()
            .unwrap_or("tcp://127.0.0.1:9501")
            .parse()?,
        ClientOptions::default()
            .framing(Framing::Line { max: 64 << 10 })
            .timeout(Timeout::After(Duration::from_secs(2))),
    )?;
    client.send(words.as_bytes())?;
    match client.receive_message()? {
        Some(answer) => println!("{}", String::from_utf8_lossy(&answer)),
        None => println!("the server closed without an answer"),
    }
    Ok(())
}
