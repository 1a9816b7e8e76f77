//! Accepting connections, each of which becomes a session on a loop of its own choice.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, SockRef};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::shared::ListenerShared;
use crate::address::Address;
use crate::client::{Client, ClientOptions, Handler};
use crate::connection::Connection;
use crate::dial::Dialer;
use crate::event_loop::EventLoopPool;
use crate::socket::SocketFile;

/// The pause when the system has no descriptor or memory left for a connection: only another's end helps.
const SHORT_OF_RESOURCES: Duration = Duration::from_millis(100);

/// Accepts until the listener ends.
pub(super) struct Acceptor<F> {
    pub(super) pool: EventLoopPool,
    pub(super) address: Address,
    /// That of a Unix socket.
    pub(super) file: Option<SocketFile>,
    pub(super) options: ClientOptions,
    pub(super) shared: Arc<ListenerShared>,
    pub(super) make: Arc<F>,
}

impl<F, H> Acceptor<F>
where
    F: Fn(&Connection) -> H + Send + Sync + 'static,
    H: Handler + 'static,
{
    pub(super) async fn run(mut self, socket: OwnedFd) {
        let failed = |address: &Address, error: io::Error| {
            tracing::error!(%address, %error, "a listener stopped: it cannot accept");
        };
        let socket = match ListeningSocket::new(socket) {
            Ok(socket) => socket,
            Err(error) => return failed(&self.address, error),
        };
        // Below the socket, so that it goes first.
        let _file = self.file.take();
        let mut ending = self.shared.ending.subscribe();
        tokio::select! {
            error = self.accept(&socket) => failed(&self.address, error),
            () = ended(&mut ending) => {}
        }
    }

    /// Accepts until the socket fails.
    async fn accept(&self, socket: &ListeningSocket) -> io::Error {
        loop {
            // The semaphore is never closed.
            let Ok(place) = self.shared.places.clone().acquire_owned().await else {
                return io::ErrorKind::Other.into();
            };
            match socket.accept().await {
                Ok(accepted) => self.begin(accepted, place),
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                        tracing::warn!(address = %self.address, %error, "cannot accept a connection: trying again");
                        tokio::time::sleep(SHORT_OF_RESOURCES).await;
                    }
                    // Errors of connections that are gone already (accept(2)), and interruptions.
                    Some(errno) if errno != Errno::BADF && errno != Errno::INVAL => {}
                    _ => return error,
                },
            }
        }
    }

    /// Gives a connection to a loop.
    fn begin(&self, accepted: OwnedFd, place: OwnedSemaphorePermit) {
        let (options, make) = (self.options.clone(), self.make.clone());
        let session = StreamSession::new(self.shared.clone(), place);
        self.pool.least_loaded().spawn(move || async move {
            match Dialer::from_socket(accepted) {
                Ok(connection) => {
                    let handler = make(&connection);
                    session.run(connection, options, handler).await;
                }
                Err(error) => tracing::debug!(%error, "an accepted connection was already closed"),
            }
        });
    }
}

/// The socket that accepts.
enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl ListeningSocket {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        let is_unix = SockRef::from(&socket).domain()? == Domain::UNIX;
        Ok(if is_unix {
            Self::Unix(UnixListener::from_std(socket.into())?)
        } else {
            Self::Tcp(TcpListener::from_std(socket.into())?)
        })
    }

    /// The next connection, taken off this loop: it may belong to another. Cancel-safe.
    async fn accept(&self) -> io::Result<OwnedFd> {
        Ok(match self {
            Self::Tcp(listener) => listener.accept().await?.0.into_std()?.into(),
            Self::Unix(listener) => listener.accept().await?.0.into_std()?.into(),
        })
    }
}

/// A session's place among all.
struct StreamSession {
    shared: Arc<ListenerShared>,
    _place: OwnedSemaphorePermit,
}

impl StreamSession {
    fn new(shared: Arc<ListenerShared>, place: OwnedSemaphorePermit) -> Self {
        shared.sessions.fetch_add(1, Ordering::Relaxed);
        Self {
            shared,
            _place: place,
        }
    }

    async fn run(self, connection: Connection, options: ClientOptions, mut handler: impl Handler) {
        let mut ending = self.shared.ending.subscribe();
        let mut client = Client::from_connection(connection, options);
        let sender = client.sender();
        let mut run = pin!(client.run(&mut handler));
        tokio::select! {
            biased;
            () = &mut run => {}
            () = ended(&mut ending) => {
                sender.close();
                run.await;
            }
        }
    }
}

impl Drop for StreamSession {
    fn drop(&mut self) {
        self.shared.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Ready once everything must end, or the listener is gone.
async fn ended(ending: &mut watch::Receiver<bool>) {
    let _ = ending.wait_for(|ending| *ending).await;
}
