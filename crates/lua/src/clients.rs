//! Sockets of a script that is a client and no service: its calls wait, as those of a plain Lua do. See `client.socket`.

use std::cell::RefCell;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use mlua::{Lua, LuaString, Table};
use rustc_hash::FxHashMap;

use crate::module::{Module, failure};
use crate::state::ServiceState;

/// What the sockets of services have, too.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For a peer that does not read.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// The most that is read at once.
const READ: usize = 64 << 10;
/// The most lines of standard input that nobody has read. Its reader waits then.
const LINES: usize = 64;
/// The first number of such a socket: those of services are far below.
const FIRST_SOCKET: i64 = 1 << 40;

/// The sockets of one state.
#[derive(Debug, Default)]
struct ClientSockets {
    streams: FxHashMap<i64, TcpStream>,
    connected: i64,
    lines: Option<Receiver<String>>,
}

/// The functions behind `client.socket` in the main chunk of a script.
pub(crate) fn module(lua: &Lua, state: &Rc<ServiceState>) -> mlua::Result<Table> {
    let sockets = Rc::new(RefCell::new(ClientSockets::default()));
    let of = || sockets.clone();
    let (state, connecting, sending, receiving) = (state.clone(), of(), of(), of());
    let (ending, closing, reading) = (of(), of(), of());
    let module = Module::new(lua)?
        .function("connect", move |_, (host, port): (String, u16)| {
            let id = state.port.id().number();
            state.process.client.store(id, Ordering::Relaxed);
            let connected = connecting.borrow_mut().connect(&host, port);
            connected.map_err(|error| failure(format!("Connect {host} {port} failed: {error}")))
        })?
        .function("send", move |_, (id, text): (i64, LuaString)| {
            let sent = sending.borrow_mut().send(id, &text.as_bytes());
            sent.map_err(|error| failure(format!("socket error: {error}")))
        })?
        .function("recv", move |lua, id: i64| {
            let received = receiving.borrow_mut().receive(id);
            let text = received.map_err(|error| failure(format!("socket error: {error}")))?;
            text.map(|text| lua.create_string(text)).transpose()
        })?
        .function("shutdown", move |_, (id, how): (i64, Option<String>)| {
            if let Some(stream) = ending.borrow().streams.get(&id) {
                let how = match how.as_deref() {
                    Some("w") => Shutdown::Write,
                    Some("r") => Shutdown::Read,
                    _ => Shutdown::Both,
                };
                // One that the peer has closed cannot be shut down.
                let _ = stream.shutdown(how);
            }
            Ok(())
        })?
        .function("close", move |_, id: i64| {
            closing.borrow_mut().streams.remove(&id);
            Ok(())
        })?
        .function("usleep", |_, microseconds: u64| {
            thread::sleep(Duration::from_micros(microseconds));
            Ok(())
        })?
        .function("readstdin", move |_, ()| {
            reading.borrow_mut().line().map_err(failure)
        })?;
    Ok(module.into_table())
}

impl ClientSockets {
    fn connect(&mut self, host: &str, port: u16) -> io::Result<i64> {
        let mut outcome = Err(io::Error::from(ErrorKind::AddrNotAvailable));
        for address in (host, port).to_socket_addrs()? {
            outcome = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT);
            if outcome.is_ok() {
                break;
            }
        }
        let stream = outcome?;
        stream.set_write_timeout(Some(SEND_TIMEOUT))?;
        let id = FIRST_SOCKET + self.connected;
        self.connected += 1;
        self.streams.insert(id, stream);
        Ok(id)
    }

    fn stream(&mut self, id: i64) -> io::Result<&mut TcpStream> {
        let stream = self.streams.get_mut(&id);
        stream.ok_or_else(|| io::Error::other("the connection is closed"))
    }

    fn send(&mut self, id: i64, bytes: &[u8]) -> io::Result<()> {
        self.stream(id)?.write_all(bytes)
    }

    /// What has arrived: none if nothing has, and no bytes at the end of the stream.
    fn receive(&mut self, id: i64) -> io::Result<Option<Vec<u8>>> {
        let stream = self.stream(id)?;
        let mut bytes = vec![0; READ];
        stream.set_nonblocking(true)?;
        let read = stream.read(&mut bytes);
        stream.set_nonblocking(false)?;
        match read {
            Ok(length) => {
                bytes.truncate(length);
                Ok(Some(bytes))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The next line of standard input, without its end: none if there is none yet, or no more.
    fn line(&mut self) -> io::Result<Option<String>> {
        let lines = match &self.lines {
            Some(lines) => lines,
            None => self.lines.insert(read_lines()?),
        };
        Ok(lines.try_recv().ok())
    }
}

/// Reads standard input on a thread of its own, which waits there.
fn read_lines() -> io::Result<Receiver<String>> {
    let (send, lines) = sync_channel(LINES);
    let read = move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("standard input".to_owned())
        .spawn(read)?;
    Ok(lines)
}
