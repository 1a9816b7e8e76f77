//! Connections that are kept and lent again: a hundred requests, ten at a time.
//!
//! ```text
//! cargo run --example pool -- tcp://127.0.0.1:9501
//! ```
//!
//! The server answers each line with a line.

use std::env;
use std::error::Error;

use moorline::net::{DialOptions, Pool, PoolKey, PoolOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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
    let pool = Pool::new(PoolOptions {
        // Whoever finds them all in use waits for one.
        max_per_key: 10,
        ..PoolOptions::default()
    });
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
    let mut connection = pool.borrow(key).await?;
    // Until the answer is here, an error means that nobody else should get this connection.
    let answered = async {
        let line = format!("request {number}\n");
        connection.write_all(line.as_bytes()).await?;
        let mut answer = vec![0; line.len()];
        connection.read_exact(&mut answer).await
    };
    if let Err(error) = answered.await {
        connection.poison();
        return Err(error.into());
    }
    // Dropping it gives it back.
    Ok(())
}
