//! The changes of a reload.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use moorline_config::Config;
use moorline_net::tls::client::ClientTls;
use moorline_net::tls::server::ServerTls;
use moorline_process::credentials::Credentials;
use moorline_protocol::control_channel::Descriptors;

use crate::ids::ListenerId;
use crate::sockets::Socket;

/// The changes that apply if the reload is committed.
pub(crate) struct Change {
    pub(crate) generation: u32,
    pub(crate) config: Config,
    pub(crate) sockets: Vec<(ListenerId, OwnedFd)>,
    pub(crate) folders: Vec<(u16, OwnedFd)>,
    pub(crate) credentials: Credentials,
    /// The certificates and TLS options of the listeners.
    pub(crate) tls: Vec<Option<ServerTls>>,
    /// TLS towards peers.
    pub(crate) peer_tls: Vec<(String, Option<ClientTls>)>,
    pub(crate) log: Option<OwnedFd>,
}

/// The same for one loop.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) config: Arc<Config>,
    /// The listeners that have another socket than before.
    pub(crate) sockets: Vec<(ListenerId, Socket)>,
    /// The TLS state of each listener.
    pub(crate) tls: Arc<[Option<ServerTls>]>,
    /// The listeners whose sessions are counted by their addresses, and have not been.
    pub(crate) counted: Arc<[ListenerId]>,
}

impl Change {
    pub(crate) fn new(
        generation: u32,
        config: Config,
        sockets: Vec<u16>,
        folders: Vec<u16>,
        descriptors: Descriptors,
    ) -> io::Result<Self> {
        let mut descriptors = descriptors?.into_iter();
        let mut with_descriptors = |places: Vec<u16>| {
            let pairs: Vec<_> = places.into_iter().zip(&mut descriptors).collect();
            pairs
        };
        let (many_sockets, many_folders) = (sockets.len(), folders.len());
        let sockets = with_descriptors(sockets);
        let sockets = sockets
            .into_iter()
            .map(|(place, it)| (ListenerId(place), it));
        let sockets: Vec<_> = sockets.collect();
        let folders = with_descriptors(folders);
        let credentials = descriptors.next();
        let log = descriptors.next();
        let is_whole = sockets.len() == many_sockets
            && folders.len() == many_folders
            && log.is_some() == config.engine.log.file.is_some();
        let Some(credentials) = credentials.filter(|_| is_whole) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a configuration came without its descriptors",
            ));
        };
        let credentials = Credentials::open(credentials)?;
        Ok(Self {
            generation,
            config,
            sockets,
            folders,
            credentials,
            tls: Vec::new(),
            peer_tls: Vec::new(),
            log,
        })
    }

    /// Prepares the TLS state of the listeners; an unchanged one keeps its session tickets. The maps join their configuration.
    pub(crate) fn ready(
        mut self,
        before: &Credentials,
        shown: &[Option<ServerTls>],
    ) -> io::Result<Self> {
        let tls = self.credentials.ready(&self.config, before, shown);
        self.tls = tls.map_err(io::Error::other)?;
        let peer_tls = self.credentials.ready_for_peers(before);
        self.peer_tls = peer_tls.map_err(io::Error::other)?;
        self.config.maps = self.credentials.take_maps();
        Ok(self)
    }
}
