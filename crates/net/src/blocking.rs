//! A client without a runtime: each call blocks its thread until it is done or its time is up.
//!
//! - [`Client`]: a connection, to be sent to and received from
//! - [`Connecting`]: a connection in progress, for programs that do something else meanwhile
//! - [`Pool`]: connections that are kept and lent again
//! - [`DatagramClient`]: datagrams, to one peer or to anyone
//! - [`select`]: waits for several of them at once
//!
//! A call takes at most the [`Timeout`] of its client. Sending and receiving are plain system calls on the caller's thread. Dialing is the same as everywhere
//! ([`Dialer`](crate::Dialer)), with the same options, errors and timelines; it runs on one thread for all blocking
//! clients of the process, which starts with the first dial and stays.
//!
//! Signals that interrupt a call do not end it, and cost it none of its time.

mod client;
mod connecting;
mod datagram;
mod error;
mod link;
mod options;
#[cfg(feature = "pool")]
mod pool;
mod runtime;
mod select;
mod stream;

pub use client::Client;
pub use connecting::Connecting;
pub use datagram::DatagramClient;
pub use error::{ReceiveError, SendError};
pub use options::{ClientOptions, DatagramOptions, Timeout};
#[cfg(feature = "pool")]
pub use pool::Pool;
pub use select::{Watch, select};
