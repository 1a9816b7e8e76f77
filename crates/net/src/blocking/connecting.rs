//! A connection that is still to come.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, mpsc};

use rustix::event::{EventfdFlags, eventfd};
use tokio::task::AbortHandle;

use super::link::Dialed;
use super::options::ClientOptions;
use super::runtime::runtime;
use super::stream::Stream;
use crate::address::Address;
use crate::dial::{ConnectCause, ConnectError, Dialer};

/// A connection that is still to come: [`select`](super::select) waits for several of them, [`wait`](Self::wait) for
/// this one. Dropping it ends the dial.
#[derive(Debug)]
pub struct Connecting {
    address: Address,
    pub(super) options: ClientOptions,
    dialed: mpsc::Receiver<Result<Dialed, ConnectError>>,
    /// Readable once the dial has ended.
    ended: Arc<OwnedFd>,
    dial: AbortHandle,
}

impl Connecting {
    /// Begins to dial, without waiting.
    pub(super) fn begin(
        address: &Address,
        options: ClientOptions,
        dialer: Dialer,
    ) -> Result<Self, ConnectError> {
        options
            .check()
            .map_err(|reason| refuse(address, ConnectCause::Invalid(reason)))?;
        let start = || -> io::Result<Self> {
            let (sender, dialed) = mpsc::sync_channel(1);
            let ended = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
            let bell = Bell(ended.clone());
            let target = address.clone();
            let dial = runtime()?.spawn(async move {
                let result = match dialer.connect(&target).await {
                    Ok(connection) => {
                        let (stream, timeline) = connection.into_stream();
                        match Stream::new(stream) {
                            Ok(stream) => Ok(Dialed {
                                stream,
                                timeline,
                                reused: false,
                            }),
                            Err(error) => Err(ConnectError::new(
                                target.to_string(),
                                None,
                                error.into(),
                                timeline,
                            )),
                        }
                    }
                    Err(error) => Err(error),
                };
                // The waiter has gone: the connection is closed.
                let _ = sender.send(result);
                drop(bell);
            });
            Ok(Self {
                address: address.clone(),
                options: options.clone(),
                dialed,
                ended,
                dial: dial.abort_handle(),
            })
        };
        start().map_err(|error| refuse(address, ConnectCause::Io(error)))
    }

    pub(super) fn finish(self) -> Result<Dialed, ConnectError> {
        self.dialed.recv().unwrap_or_else(|_| {
            // The task has ended without a result, which only a panic in it can bring about.
            let cause = ConnectCause::Io(io::Error::other("the dial broke off"));
            Err(refuse(&self.address, cause))
        })
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.dial.abort();
    }
}

/// Readable once the dial has ended.
impl AsFd for Connecting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }
}

/// Rings when the dial has ended, however that came.
struct Bell(Arc<OwnedFd>);

impl Drop for Bell {
    fn drop(&mut self) {
        // It cannot be full: this is the one write.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

/// An error before any step.
pub(super) fn refuse(address: &Address, cause: ConnectCause) -> ConnectError {
    ConnectError::before_dial(address.to_string(), cause)
}
