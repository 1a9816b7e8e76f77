//! One question and its answer over UDP. What is lost on the way is asked again.
//!
//! ```text
//! cargo run --example datagram -- udp://127.0.0.1:9503 ahoy
//! ```

use std::env;
use std::error::Error;
use std::time::Duration;

use moorline::net::{DatagramClient, DialOptions, Dialer};
use tokio::time::timeout;

/// The wait for an answer.
const PATIENCE: Duration = Duration::from_millis(500);
const ATTEMPTS: u32 = 5;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next();
    let address = address
        .as_deref()
        .unwrap_or("udp://127.0.0.1:9503")
        .parse()?;
    let question = arguments.next().unwrap_or_else(|| "ahoy".to_owned());
    let dialer = Dialer::new(DialOptions::default());
    // Connected: it hears its peer alone, and hears too that nobody is there.
    let client = DatagramClient::connect(&dialer, &address).await?;
    let mut answer = vec![0; 65_507];
    for _ in 0..ATTEMPTS {
        client.send(question.as_bytes()).await?;
        if let Ok(received) = timeout(PATIENCE, client.receive(&mut answer)).await {
            let bytes = received?.bytes;
            println!("{}", String::from_utf8_lossy(&answer[..bytes]));
            return Ok(());
        }
    }
    Err("no answer".into())
}
