//! A server without an engine: it greets each connection with two bytes, and sends back what it gets.
//!
//! `plain_peer ADDRESS` prints its address. The tests kill it and start it again at the same one.

use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_default();
    let listener = TcpListener::bind(address)?;
    println!("{}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || serve(stream));
    }
    Ok(())
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(b"hi")?;
    io::copy(&mut stream.try_clone()?, &mut stream)?;
    Ok(())
}
