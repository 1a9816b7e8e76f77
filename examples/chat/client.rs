//! The chat in a terminal, over the length-framed port: four bytes of length, then a line of text.
//!
//! ```text
//! cargo run --release --example chat-client -- [NAME [HOST:PORT]]
//! ```

use std::env;
use std::io::{self, BufRead, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::thread;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let name = arguments
        .next()
        .or_else(|| env::var("USER").ok())
        .unwrap_or_else(|| "someone".into());
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9501".into());
    match chat(&name, &address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{address}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Says what is typed and prints what is heard, until either ends.
fn chat(name: &str, address: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    let listening = stream.try_clone()?;
    thread::spawn(move || {
        let end = print_lines(listening);
        // The other thread waits for the keyboard and cannot be told.
        eprintln!(
            "disconnected: {}",
            end.err()
                .map_or("the server is gone".into(), |error| error.to_string())
        );
        std::process::exit(1);
    });
    for line in io::stdin().lock().lines() {
        send(&mut stream, &format!("{name}: {}", line?))?;
    }
    Ok(())
}

fn send(stream: &mut TcpStream, line: &str) -> io::Result<()> {
    let length = u32::try_from(line.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), line.as_bytes()].concat())
}

fn print_lines(mut stream: TcpStream) -> io::Result<()> {
    let mut length = [0; 4];
    loop {
        match stream.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        let mut line = String::new();
        (&mut stream)
            .take(u32::from_be_bytes(length).into())
            .read_to_string(&mut line)?;
        println!("{line}");
    }
}
