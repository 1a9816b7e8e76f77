//! Certificates and keys on their way from the supervisor, which may read them, to the gateway, which uses them. Maps travel with
//! them, because they may be larger than a message.
//!
//! They travel as sealed memory: a gateway that is started again uses the files as of the last reload, not as they are
//! on disk by then.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use moorline_net::tls::TlsError;
use moorline_net::tls::client::{ClientCredentials, ClientOptions, ClientTls};
use moorline_net::tls::server::{ServerCredentials, ServerOptions, ServerTls};
use rustix::fs::{MemfdFlags, SealFlags};
use serde::{Deserialize, Serialize};

use moorline_config::{Config, Map};

/// More than a thousand certificates with their chains and keys.
const MAX_BYTES: u64 = 64 << 20;

/// What is shown and trusted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Credentials {
    /// By the place of each listener in the configuration.
    listeners: Vec<Option<(ServerOptions, ServerCredentials)>>,
    /// By the name of each upstream that has TLS.
    upstreams: BTreeMap<String, (ClientOptions, ClientCredentials)>,
    /// The maps of the configuration.
    maps: Vec<Map>,
}

/// The same, sealed: no process can change it any more.
#[derive(Debug)]
pub struct SealedCredentials(OwnedFd);

impl Credentials {
    /// Reads the files that a configuration names. Blocks on them.
    ///
    /// # Errors
    /// A file cannot be read or used.
    pub fn load(config: &Config) -> Result<Self, TlsError> {
        let listeners = config
            .listeners
            .iter()
            .map(|listener| match &listener.tls {
                // No handshake begins there any more, and its files may be gone.
                _ if listener.is_retired => Ok(None),
                Some(options) => Ok(Some((options.clone(), ServerCredentials::load(options)?))),
                None => Ok(None),
            })
            .collect::<Result<_, TlsError>>()?;
        let encrypted = config.upstreams.iter();
        let encrypted = encrypted.filter_map(|it| Some((&it.name, &it.tls.as_ref()?.options)));
        let upstreams = encrypted
            .map(|(name, options)| {
                let credentials = ClientCredentials::load(options)?;
                Ok((name.clone(), (options.clone(), credentials)))
            })
            .collect::<Result<_, TlsError>>()?;
        Ok(Self {
            listeners,
            upstreams,
            maps: config.maps.clone(),
        })
    }

    /// Takes the maps of the configuration out.
    pub fn take_maps(&mut self) -> Vec<Map> {
        std::mem::take(&mut self.maps)
    }

    /// Puts them into memory that cannot be changed.
    ///
    /// # Errors
    /// The system gives no memory for it.
    pub fn seal(&self) -> io::Result<SealedCredentials> {
        let bytes = postcard::to_stdvec(self).map_err(io::Error::other)?;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut file = File::from(rustix::fs::memfd_create("moorline-credentials", flags)?);
        file.write_all(&bytes)?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals)?;
        Ok(SealedCredentials(file.into()))
    }

    /// Reads sealed credentials.
    ///
    /// # Errors
    /// `InvalidData` if it is too large or holds no credentials, or the system's error.
    pub fn open(sealed: OwnedFd) -> io::Result<Self> {
        let wrong = |problem: &str| io::Error::new(io::ErrorKind::InvalidData, problem.to_owned());
        let mut file = File::from(sealed);
        if file.metadata()?.len() > MAX_BYTES {
            return Err(wrong("the certificates are too large"));
        }
        // The position is shared with every copy of the descriptor.
        file.rewind()?;
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes)?;
        postcard::from_bytes(&bytes).map_err(|_| wrong("the certificates cannot be understood"))
    }

    /// Makes each ready for use. An unchanged one since `before` stays as it is, so that sessions can be resumed. The
    /// same holds for a retired listener: some of its connections may just be beginning.
    pub fn ready(
        &self,
        config: &Config,
        before: &Self,
        present: &[Option<ServerTls>],
    ) -> Result<Vec<Option<ServerTls>>, TlsError> {
        let listeners = self.listeners.iter().zip(&config.listeners).enumerate();
        listeners
            .map(|(at, (credentials, listener))| {
                let present = || present.get(at).cloned().flatten();
                if listener.is_retired {
                    return Ok(present());
                }
                let Some((options, shown)) = credentials else {
                    return Ok(None);
                };
                let unchanged = present().filter(|_| before.listeners.get(at) == Some(credentials));
                match unchanged {
                    Some(tls) => Ok(Some(tls)),
                    None => ServerTls::new(options, shown).map(Some),
                }
            })
            .collect()
    }
}

impl Credentials {
    /// Makes those towards peers ready, by the names of their upstreams. `None`: unchanged since `before`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn ready_for_peers(
        &self,
        before: &Self,
    ) -> Result<Vec<(String, Option<ClientTls>)>, TlsError> {
        let made = self.upstreams.iter().map(|(name, credentials)| {
            if before.upstreams.get(name) == Some(credentials) {
                return Ok((name.clone(), None));
            }
            let (options, shown) = credentials;
            Ok((name.clone(), Some(ClientTls::new(options, shown)?)))
        });
        made.collect()
    }
}

impl SealedCredentials {
    /// The descriptor, for a gateway.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
