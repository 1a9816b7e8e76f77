//! Moorline's network library: addresses, framings, sockets, and everything that opens connections. For Linux.
//!
//! Begin with [`Dialer`] to open a connection, and with [`Framing`] and [`Decoder`] to turn a byte stream
//! into messages and back.
//!
//! - [`Address`]: where something listens or is reached, as text and as value
//! - [`framing`]: how a byte stream is cut into messages
//! - [`socket`]: listening sockets; [`SocketOptions`]: options of connecting sockets
//! - [`resolve`]: from names to addresses
//! - [`dial`]: from an address to a [`Connection`], under one deadline, with a timeline
//! - [`DatagramClient`]: datagrams, to one peer or to any
//! - [`client`]: a connection with a framing, buffers and reconnection
//! - `Pool`: connections that are kept and lent again
//! - `blocking`: the same without a runtime
//! - [`relay`]: two streams joined both ways
//! - [`tls`]: how servers are verified
//! - `Listener`, `DatagramListener`: servers without processes, for tests and small tools
//! - [`EventLoop`], [`EventLoopPool`], [`Timer`]: threads on which all of this can run
//! - [`reserve_descriptors`]: for a program with thousands of connections
//! - [`mod@unit`]: durations and sizes as text
//!
//! This crate knows nothing of processes, configuration files or rings.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `tls` | yes | TLS by rustls: towards servers for `tls://`, `https://` and `wss://`, and sans-io towards clients |
//! | `hickory` | no | `HickoryResolver`: DNS without the system's resolver |
//! | `websocket` | no | `Framing::WebSocket`, the server's side (RFC 6455), with permessage-deflate (RFC 7692) |
//! | `listener` | no | `Listener`, `DatagramListener` |
//! | `blocking` | no | `blocking`: clients for threads without a runtime |
//! | `pool` | no | `Pool`; with `blocking` also `blocking::Pool` |
//! | `codec` | no | `framing::FramingCodec`: a framing for `tokio_util::codec::Framed` |
//! | `hyper` | no | `Connector`: a dialer for hyper-util's client |
//!
//! The default is what a dialer needs for each address that it takes. TLS is most of it, and compiles a C library;
//! it is in the default because `https://` in a configuration should not fail in a program that compiled. Without
//! `tls` and `hickory` the crate needs fewer than 60 crates, itself included.

#![deny(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "moorline-net is for Linux only: it uses epoll, eventfd, sendfile, recvmmsg and abstract Unix sockets"
);

mod address;
#[cfg(feature = "blocking")]
pub mod blocking;
pub mod client;
mod clock;
mod connection;
#[cfg(feature = "hyper")]
mod connector;
mod datagram;
mod descriptors;
pub mod dial;
pub mod event_loop;
pub mod framing;
#[cfg(all(any(test, fuzzing), feature = "websocket"))]
#[doc(hidden)]
pub mod invariants;
#[cfg(feature = "listener")]
pub mod listener;
mod liveness;
#[cfg(all(feature = "blocking", feature = "pool"))]
mod park;
#[cfg(feature = "pool")]
mod pool;
#[cfg(not(feature = "pool"))]
#[path = "pool/absent.rs"]
mod pool;
mod printable;
pub mod relay;
pub mod resolve;
mod scratch;
mod setters;
pub mod socket;
mod socket_options;
#[allow(unsafe_code)]
mod sys;
mod timeline;
mod timer;
pub mod tls;
pub mod unit;
pub mod watermark;

pub use address::{Address, AddressError, HostPort, MAX_UNIX_PATH_BYTES};
pub use client::{Client, ClientOptions, Handler};
pub use connection::Connection;
#[cfg(feature = "hyper")]
pub use connector::Connector;
pub use datagram::{Batch, DatagramClient, DatagramError, Peer, Received};
pub use descriptors::reserve_descriptors;
pub use dial::{ConnectCause, ConnectError, DialOptions, Dialer, Timeline, watch_dials};
pub use event_loop::{
    EventLoop, EventLoopPool, LoopOptions, LoopPoolOptions, Priority, Task, TaskError,
};
#[cfg(feature = "websocket")]
pub use framing::websocket;
pub use framing::{
    ControlFrame, Counts, Decoded, Decoder, Delimiter, EncodeError, Endian, Envelope, Framing,
    FramingError, InvalidFraming, Length,
};
#[cfg(feature = "listener")]
pub use listener::{DatagramListener, Listener, ListenerError, ListenerOptions};
#[cfg(feature = "pool")]
pub use pool::{Pool, PoolCounters, PoolError, PoolKey, PoolOptions, Pooled, Stray, Unanswered};
pub use relay::Relay;
pub use resolve::{ResolveError, Resolver};
pub use socket::{ListenError, listen, local_address};
pub use socket_options::{KeepAlive, SocketOptions};
pub use sys::unacknowledged;
pub use timer::Timer;
