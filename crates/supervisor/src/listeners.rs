//! The sockets that the engine listens on, and the folders that it serves. The supervisor opens them for each
//! deployment and passes them to each gateway. While there is no gateway, connections wait.
//!
//! A deployment shares sockets with the one before it. A socket is closed with the last deployment that has it, so a
//! failed reload closes only the sockets that it has opened.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use moorline_net::{Address, listen, local_address};
use rustix::fs::{Mode, OFlags};

use moorline_config::{Config, Listener, RouteKind};

use super::ServeError;
use super::systemd::Given;

/// Indexed by the listener's place in the configuration; a retired listener has none.
#[derive(Default)]
pub(super) struct Listeners(BTreeMap<u16, Opened>);

/// The socket and the folders of one listener.
pub(super) struct Opened {
    pub(super) socket: Rc<Listening>,
    /// In the order of its routes.
    pub(super) folders: Vec<OwnedFd>,
    /// The real address.
    pub(super) address: Address,
    /// The line for the user: the real address, and its protocol.
    line: String,
}

/// A socket, and its clean-up when it is dropped.
pub(super) struct Listening {
    /// A socket from systemd is kept there, too.
    socket: Rc<OwnedFd>,
    /// The file of a Unix socket that was made here.
    file: Option<SocketFile>,
}

impl Listeners {
    /// A socket of the deployment before this one is used again if its listener is still there, or if another one has its
    /// address. A socket from systemd is used if a listener fits it. All other sockets are bound, and all folders opened.
    pub(super) fn open(
        config: &Config,
        before: Option<(&Config, &Self)>,
        given: &mut Given,
    ) -> Result<Self, ServeError> {
        let accepting = config.listeners.iter().zip(0..);
        let accepting = accepting.filter(|(listener, _)| listener.is_bound());
        let successor =
            |place| before.and_then(|(old, sockets)| sockets.successor(old, config, place));
        let successors = accepting.map(|(listener, place)| (listener, place, successor(place)));
        let successors: Vec<_> = successors.collect();
        // A socket from systemd serves one listener only.
        let mut had: Vec<_> = successors
            .iter()
            .filter_map(|(_, _, successor)| successor.clone())
            .collect();
        let mut listeners = Self::default();
        for (listener, place, successor) in successors {
            let socket = match successor {
                Some(socket) => socket,
                None => Rc::new(Listening::new(listener, given, &had)?),
            };
            had.push(socket.clone());
            let address = local_address(&socket.socket, &listener.address);
            let folders = listener.routes.folders();
            let folders = folders.map(|(_, files)| open_folder(&files.folder));
            let opened = Opened {
                line: announcement(&address, listener),
                address,
                folders: folders.collect::<Result<_, _>>()?,
                socket,
            };
            listeners.0.insert(place, opened);
        }
        Ok(listeners)
    }

    /// The socket that the listener at this place of a new configuration takes over from the old one.
    fn successor(&self, old: &Config, new: &Config, place: u16) -> Option<Rc<Listening>> {
        let listener = &new.listeners[usize::from(place)];
        let from = successor(&old.listeners, &new.listeners, listener, place)?;
        let socket = &self.0.get(&from)?.socket;
        socket.is_reachable().then(|| socket.clone())
    }

    pub(super) fn get(&self, place: u16) -> Option<&Opened> {
        self.0.get(&place)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, &Opened)> {
        self.0.iter().map(|(place, opened)| (*place, opened))
    }

    /// Closes them. Clients cannot connect once the gateway has closed its copies, too.
    pub(super) fn close(&mut self) {
        self.0.clear();
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(|opened| opened.line.as_str())
    }
}

/// The place in the old configuration whose socket the listener at `place` in the new one takes: its own, or that of a
/// listener on the same address that is removed.
fn successor(old: &[Listener], new: &[Listener], listener: &Listener, place: u16) -> Option<u16> {
    let is_kept = |at: u16| {
        let (was, is) = (&old[usize::from(at)], &new[usize::from(at)]);
        was.is_bound() && is.is_bound() && is.continues(was)
    };
    let places = 0..u16::try_from(old.len()).unwrap_or(u16::MAX);
    if places.contains(&place) && is_kept(place) {
        return Some(place);
    }
    places.into_iter().find(|&at| {
        let was = &old[usize::from(at)];
        was.is_bound() && !is_kept(at) && takes_over(listener, was)
    })
}

/// Whether two listeners are bound to the same address. A port that the system has chosen stays with the listener's
/// name: another listener needs a port of its own.
fn takes_over(listener: &Listener, other: &Listener) -> bool {
    let is_chosen = |address: &Address| address.host_port().is_some_and(|at| at.port == 0);
    let is_datagram = Listener::is_datagram;
    let (wanted, bound) = (&listener.address, &other.address);
    let is_same = match (wanted.host_port(), bound.host_port()) {
        (Some(wanted_at), Some(bound_at)) => {
            wanted_at == bound_at && is_datagram(listener) == is_datagram(other)
        }
        _ => wanted == bound,
    };
    is_same && (!is_chosen(wanted) || listener.name == other.name)
}

impl Listening {
    fn new(listener: &Listener, given: &mut Given, had: &[Rc<Self>]) -> Result<Self, ServeError> {
        let is_had = |socket: &Rc<_>| had.iter().any(|had| Rc::ptr_eq(&had.socket, socket));
        if let Some(socket) = given.take(listener, is_had) {
            return Ok(Self {
                socket,
                // The process that has made a socket removes its file.
                file: None,
            });
        }
        let socket = listen(&listener.address).map_err(ServeError::Listen)?;
        Ok(Self {
            socket: Rc::new(socket),
            file: listener.address.socket_file().and_then(SocketFile::at),
        })
    }

    /// Whether its address still leads to it.
    fn is_reachable(&self) -> bool {
        self.file.as_ref().is_none_or(SocketFile::is_there)
    }
}

/// The file of a Unix socket. Another process may have removed or replaced it since.
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn at(path: &Path) -> Option<Self> {
        let found = fs::symlink_metadata(path).ok()?;
        Some(Self {
            path: path.to_owned(),
            device: found.dev(),
            inode: found.ino(),
        })
    }

    fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode))
    }
}

impl AsFd for Listening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(file) = self.file.as_ref().filter(|file| file.is_there()) {
            // Another process may just have removed it.
            let _ = fs::remove_file(&file.path);
        }
    }
}

fn open_folder(path: &Path) -> Result<OwnedFd, ServeError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|error| ServeError::Static {
        folder: path.to_owned(),
        source: io::Error::from(error),
    })
}

fn announcement(address: &Address, listener: &Listener) -> String {
    let websocket = listener
        .routes
        .iter()
        .find(|route| route.kind == RouteKind::WebSocket);
    let spoken = match address {
        Address::Udp(_) | Address::Unixgram(_) => "datagrams",
        Address::Http(_) | Address::Https(_) => {
            let path = websocket
                .map(|route| format!(" (WebSocket on {})", route.path))
                .unwrap_or_default();
            return format!("open {address}/ in a browser{path}");
        }
        _ if listener.is_http() => "http",
        _ => listener.framing.name(),
    };
    format!("listening on {address} ({spoken})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use moorline_config::{live_change, load_text};

    fn config(listeners: &[(&str, &str)]) -> Config {
        let sections = listeners
            .iter()
            .map(|(name, rest)| format!("[[listen]]\nname = \"{name}\"\naddress = {rest}\n"));
        load_text(&sections.collect::<String>(), Path::new("/a.toml"))
            .unwrap()
            .config
    }

    /// For each place that accepts after the change: the place that its socket comes from.
    fn successors(old: &Config, new: &Config) -> Vec<(u16, Option<u16>)> {
        let new = live_change(old, new.clone(), &Default::default()).unwrap();
        let listeners = new.listeners.iter().zip(0..);
        listeners
            .filter(|(listener, _)| !listener.is_retired)
            .map(|(listener, place)| {
                let from = successor(&old.listeners, &new.listeners, listener, place);
                (place, from)
            })
            .collect()
    }

    #[test]
    fn a_listener_that_takes_over_an_address_takes_over_its_socket() {
        const LINE: &str = "framing = { kind = \"line\" }";
        let fixed = "\"tcp://127.0.0.1:9501\"";
        let any = "\"tcp://127.0.0.1:0\"";
        let old = config(&[
            ("a", fixed),
            ("b", any),
            ("c", "\"udp://127.0.0.1:9501\""),
            ("d", "\"unix:///run/d\""),
        ]);
        // A listener that stays keeps its socket; a new address is bound.
        let new = config(&[("a", fixed), ("b", any), ("e", any)]);
        assert_eq!(
            successors(&old, &new),
            [(0, Some(0)), (1, Some(1)), (4, None)]
        );
        // Another framing, or another name: a new place with the old listener's socket.
        let new = config(&[
            ("a", &format!("{fixed}\n{LINE}")),
            ("b", &format!("{any}\n{LINE}")),
            ("x", "\"unix:///run/d\""),
        ]);
        assert_eq!(
            successors(&old, &new),
            [(4, Some(0)), (5, Some(1)), (6, Some(3))]
        );
        // A port that the system has chosen belongs to one listener; datagram sockets and stream sockets differ.
        let new = config(&[("x", any), ("y", "\"udp://127.0.0.1:9502\"")]);
        assert_eq!(successors(&old, &new), [(4, None), (5, None)]);
        let new = config(&[("a", "\"http://127.0.0.1:9501\"\nwebsocket = \"/\"")]);
        assert_eq!(successors(&old, &new), [(4, Some(0))]);
    }

    #[test]
    fn a_socket_is_closed_with_the_last_deployment_that_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let unix = |name: &str| format!("\"unix://{}\"", at(name).display());
        let old = config(&[("a", &unix("a")), ("b", &unix("b"))]);
        let opened = Listeners::open(&old, None, &mut Given::default())
            .map_err(|error| error.to_string())
            .unwrap();
        let wanted = config(&[("a", &unix("a")), ("c", &unix("c"))]);
        let new = live_change(&old, wanted, &Default::default()).unwrap();
        let open = |new| Listeners::open(new, Some((&old, &opened)), &mut Given::default());
        let files = || ["a", "b", "c"].map(|name| at(name).exists());
        // Removed.
        drop(open(&new));
        assert_eq!(files(), [true, true, false]);
        // Committed.
        let next = open(&new);
        assert_eq!(files(), [true, true, true]);
        drop(opened);
        assert_eq!(files(), [true, false, true]);
        drop(next);
        assert_eq!(files(), [false, false, false]);
    }
}
