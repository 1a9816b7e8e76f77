//! Moorline's network vocabulary: addresses, framings, sockets, and everything that opens connections.
//!
//! Begin with [`Dialer`] to open a connection, and with [`Framing`] and [`Decoder`] to turn a byte stream
//! into messages and back.
//!
//! - [`Address`]: where something listens or is reached, as text and as value
//! - [`framing`]: how a byte stream is cut into messages
//! - [`socket`]: the sockets that listeners accept on; [`SocketOptions`]: those of sockets that connect
//! - [`resolve`]: from names to addresses
//! - [`dial`]: from an address to a [`Connection`], under one deadline, with a timeline
//! - [`DatagramClient`]: datagrams, to one peer or to anyone
//! - [`client`]: a connection that is looked after
//! - [`Pool`]: connections that are kept and lent again
//! - [`blocking`]: the same without a runtime
//! - [`relay`]: two streams joined both ways
//! - [`tls`]: how servers are verified
//! - [`Listener`], [`DatagramListener`]: servers without processes, for tests and small tools
//! - [`EventLoop`], [`EventLoopPool`], [`Timer`]: threads that all this may run on
//! - [`reserve_descriptors`]: for whoever will have thousands of connections
//! - [`mod@unit`]: durations and sizes as they are written
//!
//! This crate knows nothing of processes, configuration files or rings.

#![deny(unsafe_code)]

mod address;
pub mod blocking;
pub mod client;
mod clock;
mod connection;
mod datagram;
mod descriptors;
pub mod dial;
pub mod event_loop;
pub mod framing;
pub mod listener;
mod liveness;
mod pool;
mod printable;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod properties;
pub mod relay;
pub mod resolve;
mod scratch;
pub mod socket;
mod socket_options;
#[allow(unsafe_code)]
mod sys;
mod timer;
pub mod tls;
pub mod unit;
pub mod watermark;

pub use address::{Address, AddressError, HostPort, MAX_UNIX_PATH_BYTES};
pub use client::{Client, ClientOptions, Handler};
pub use connection::Connection;
pub use datagram::{Batch, DatagramClient, DatagramError, Peer, Received};
pub use descriptors::reserve_descriptors;
pub use dial::{ConnectCause, ConnectError, DialOptions, Dialer, Timeline};
pub use event_loop::{
    EventLoop, EventLoopPool, LoopOptions, LoopPoolOptions, Priority, Task, TaskError,
};
pub use framing::{
    ControlFrame, Counts, Decoded, Decoder, Delimiter, EncodeError, Endian, Envelope, Framing,
    FramingError, InvalidFraming, Length, websocket,
};
pub use listener::{DatagramListener, Listener, ListenerError, ListenerOptions};
pub use pool::{Pool, PoolCounters, PoolError, PoolKey, PoolOptions, Pooled, Stray, Unanswered};
pub use relay::Relay;
pub use resolve::{ResolveError, Resolver};
pub use socket::{ListenError, listen, local_address};
pub use socket_options::{KeepAlive, SocketOptions};
pub use timer::Timer;
