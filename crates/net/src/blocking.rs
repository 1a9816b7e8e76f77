//! A client without a runtime: each call blocks its thread until it is done or its time is up.
//!
//! - [`Client`]: a connection, to be sent to and received from
//! - [`Connecting`]: one that is still to come, for programs that go on meanwhile
//! - [`select`]: waits for several of them at once
//!
//! Sending and receiving are plain system calls on the caller's thread. Dialing is the same as everywhere
//! ([`Dialer`](crate::Dialer)), with the same options, errors and timelines; it runs on one thread for all blocking
//! clients of the process, which starts with the first dial and stays.
//!
//! Signals that interrupt a call do not end it, and cost it none of its time.

mod client;
mod connecting;
mod error;
mod options;
mod select;
mod stream;

pub use client::Client;
pub use connecting::Connecting;
pub use error::{ReceiveError, SendError};
pub use options::{ClientOptions, Timeout};
pub use select::{Watch, select};
