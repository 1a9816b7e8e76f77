//! The sockets that the engine listens on, and the folders that it serves. Opened once, by the
//! supervisor, and handed to each gateway in turn: while there is none, connections wait.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use moorline_net::{Address, Framing, listen, local_address};
use rustix::fs::{Mode, OFlags};

use crate::config::Config;

use super::ServeError;
use super::systemd::Given;

pub(super) struct Listeners {
    opened: Vec<Opened>,
}

struct Opened {
    socket: OwnedFd,
    folder: Option<OwnedFd>,
    /// What is told to the user: the real address, and how it is spoken to.
    line: String,
    /// The file of a Unix socket.
    file: Option<PathBuf>,
}

impl Listeners {
    /// Sockets that were given are used, the others bound.
    pub(super) fn open(config: &Config, mut given: Given) -> Result<Self, ServeError> {
        let mut listeners = Self { opened: Vec::new() };
        for listener in &config.listeners {
            let (socket, is_given) = match given.take(listener) {
                Some(socket) => (socket, true),
                None => (
                    listen(&listener.address).map_err(ServeError::Listen)?,
                    false,
                ),
            };
            let address = local_address(&socket, &listener.address);
            // Whoever has made a socket removes its file.
            let file = address.socket_file().filter(|_| !is_given);
            let file = file.map(Path::to_owned);
            let line = announcement(&address, &listener.framing, listener.websocket.as_deref());
            // In the list at once, so that its file is removed if what follows fails.
            listeners.opened.push(Opened {
                socket,
                folder: None,
                line,
                file,
            });
            if let Some(path) = &listener.static_folder {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let folder = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| {
                    ServeError::Static {
                        folder: path.clone(),
                        source: error.into(),
                    }
                })?;
                if let Some(opened) = listeners.opened.last_mut() {
                    opened.folder = Some(folder);
                }
            }
        }
        match given.left() {
            Some(socket) => Err(ServeError::Given(socket)),
            None => Ok(listeners),
        }
    }

    /// In the order of the configuration: each socket and, right after it, its folder.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.opened.iter().flat_map(|opened| {
            std::iter::once(opened.socket.as_fd()).chain(opened.folder.as_ref().map(AsFd::as_fd))
        })
    }

    /// Nobody connects any more, once the gateway has closed its copies too.
    pub(super) fn close(&mut self) {
        self.opened.clear();
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = &str> {
        self.opened.iter().map(|opened| opened.line.as_str())
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if let Some(path) = &self.file {
            // Someone may have removed it before.
            let _ = fs::remove_file(path);
        }
    }
}

fn announcement(address: &Address, framing: &Framing, websocket: Option<&str>) -> String {
    let spoken = match address {
        Address::Udp(_) => "datagrams",
        Address::Http(_) | Address::Https(_) => {
            let path = websocket
                .map(|path| format!(" (WebSocket on {path})"))
                .unwrap_or_default();
            return format!("open {address}/ in a browser{path}");
        }
        _ => match framing {
            Framing::Raw => "raw",
            Framing::Length(_) => "length",
            Framing::Delimiter(_) => "delimiter",
            Framing::Line { .. } => "line",
            Framing::WebSocket { .. } => "websocket",
        },
    };
    format!("listening on {address} ({spoken})")
}
