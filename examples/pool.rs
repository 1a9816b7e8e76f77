//! Connections that are kept and lent again: a hundred requests, ten at a time.
//!
//! ```text
//! cargo run --example pool -- tcp://127.0.0.1:9501
//! ```
//!
//! The server answers each line with a line.

use std::env;
use std::error::Error;

use moorline::net::{Client, ClientOptions, DialOptions, Framing, Pool, PoolKey, PoolOptions};
use tokio::task::JoinSet;

const REQUESTS: usize = 100;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1);
    let address = address
        .as_deref()
        .unwrap_or("tcp://127.0.0.1:9501")
        .parse()?;
    let key = PoolKey::new(address, DialOptions::default());
    let pool = Pool::new(
        PoolOptions::default()
            // A task that finds them all in use waits for one.
            .max_per_key(10),
    );
    let mut requests = JoinSet::new();
    for number in 0..REQUESTS {
        let (pool, key) = (pool.clone(), key.clone());
        requests.spawn(async move {
            request(&pool, &key, number)
                .await
                .map_err(|error| error.to_string())
        });
    }
    while let Some(answered) = requests.join_next().await {
        answered??;
    }
    println!("{REQUESTS} answers; {:?}", pool.counters());
    Ok(())
}

async fn request(pool: &Pool, key: &PoolKey, number: usize) -> Result<(), Box<dyn Error>> {
    let lines = ClientOptions::framed(Framing::Line { max: 1024 });
    let mut client = Client::on(pool.borrow(key).await?, lines);
    let line = format!("request {number}");
    client.send(line.as_bytes()).await?;
    client
        .receive_message()
        .await?
        .ok_or("the server has closed")?;
    // Dropping it gives its connection back. Dropped sooner, without the answer, it would close it.
    Ok(())
}
