//! Opens one connection and tells step by step what that took.
//!
//! ```text
//! cargo run --example dial -- tcp://localhost:9501
//! ```

use std::env;
use std::error::Error;
use std::time::Duration;

use moorline::net::{Address, DialOptions, Dialer, Timeline};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1);
    let address: Address = address
        .as_deref()
        .unwrap_or("tcp://localhost:9501")
        .parse()?;
    let dialer = Dialer::new(
        DialOptions::default()
            // Resolving, connecting and handshakes together.
            .deadline(Duration::from_secs(2)),
    );
    match dialer.connect(&address).await {
        Ok(connection) => {
            show(connection.timeline());
            println!("connected to {address}");
            Ok(())
        }
        // The steps until then are in the error.
        Err(error) => {
            show(error.timeline());
            Err(error.into())
        }
    }
}

fn show(timeline: &Timeline) {
    for step in timeline.steps() {
        let took = step.took.unwrap_or_default();
        println!(
            "{} {}: {} after {took:.1?}",
            step.kind, step.target, step.outcome
        );
    }
}
