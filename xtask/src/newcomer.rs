//! `cargo xtask newcomer`: the way from a fresh clone to an app of one's own whose new code serves the old connections, timed.
//!
//! The commands are those of the template's README. Debug builds, as a newcomer makes them; nothing is taken from this clone's target
//! folder.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{self, Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::steps::{Failure, root, seconds};

/// Connections that stay open over the reload.
const CLIENTS: usize = 200;
/// How long an answer may take, and the engine to listen.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run() -> Result<(), Failure> {
    // Not below the workspace: a package there would have to be one of it.
    let folder = std::env::temp_dir().join(format!("moorline-newcomer-{}", process::id()));
    fs::create_dir(&folder)?;
    let began = Instant::now();
    let result = walk(&folder);
    println!("\nall of it: {}", seconds(began.elapsed()));
    fs::remove_dir_all(&folder)?;
    result
}

fn walk(folder: &Path) -> Result<(), Failure> {
    let app = folder.join("app");
    let source = root().display().to_string();
    shell(folder, &format!("git clone --quiet {source} moorline"))?;
    shell(folder, "cp -r moorline/templates/app app")?;
    let address = free_address()?;
    change(&app.join("Cargo.toml"), |text| {
        let from = "git = \"https://github.com/moorline/moorline\"";
        let text = text.replace(from, "path = \"../moorline/crates/moorline\"");
        text.replace("{{project-name}}", "first")
    })?;
    change(&app.join("moorline.toml"), |text| {
        text.replace("127.0.0.1:7000", &address.to_string())
    })?;
    shell(&app, "cargo build --quiet")?;
    let serve = "cargo run --quiet -- serve moorline.toml";
    println!("$ {serve} &");
    let mut engine = Running(command(&app, serve).stdout(Stdio::null()).spawn()?);
    let mut clients = connect(&mut engine, address)?;
    ask_all(&mut clients, "HELLO")?;
    change(&app.join("src/main.rs"), |text| {
        text.replace("to_ascii_uppercase", "to_ascii_lowercase")
    })?;
    shell(&app, "cargo build --quiet")?;
    shell(&app, "cargo run --quiet -- reload moorline.toml")?;
    ask_all(&mut clients, "hello")?;
    println!("{CLIENTS} clients were connected before the reload, and are after it");
    shell(&app, "cargo run --quiet -- stop moorline.toml")
}

/// An engine, which is killed if the walk ends before it was stopped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Once it has ended there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(folder: &Path, line: &str) -> Command {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap_or_default());
    // The target folder is the app's own, also where this one is elsewhere.
    command.args(words).current_dir(folder);
    command.env_remove("CARGO_TARGET_DIR");
    command
}

/// Runs it, and says how long it took.
fn shell(folder: &Path, line: &str) -> Result<(), Failure> {
    println!("$ {line}");
    let began = Instant::now();
    let status = command(folder, line).status()?;
    println!("  {}", seconds(began.elapsed()));
    match status.success() {
        true => Ok(()),
        false => Err(Failure(format!("`{line}` failed: {status}"))),
    }
}

fn change(path: &Path, change: impl FnOnce(String) -> String) -> Result<(), Failure> {
    let before = fs::read_to_string(path)?;
    let after = change(before.clone());
    if before == after {
        let text = format!("{} has nothing to change", path.display());
        return Err(Failure(text));
    }
    Ok(fs::write(path, after)?)
}

fn free_address() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn connect(engine: &mut Running, to: SocketAddr) -> Result<Vec<BufReader<TcpStream>>, Failure> {
    let began = Instant::now();
    let mut clients = Vec::new();
    while clients.len() < CLIENTS {
        match TcpStream::connect(to) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                clients.push(BufReader::new(stream));
            }
            Err(_) if began.elapsed() < PATIENCE && engine.0.try_wait()?.is_none() => {
                thread::sleep(Duration::from_millis(50));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(clients)
}

/// Each client says hello on its connection, and has to hear this.
fn ask_all(clients: &mut [BufReader<TcpStream>], expected: &str) -> Result<(), Failure> {
    for client in clients.iter_mut() {
        client.get_mut().write_all(b"Hello\n")?;
    }
    for client in clients {
        let mut heard = String::new();
        client.read_line(&mut heard)?;
        if heard.trim_end() != expected {
            let text = format!("a client heard {heard:?} instead of {expected:?}");
            return Err(Failure(text));
        }
    }
    Ok(())
}
