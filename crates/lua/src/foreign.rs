//! What an embedding program gives to the services that it runs.

use std::net::SocketAddr;

use mlua::{Function, Lua};

/// A module that comes from the program that embeds the services.
#[derive(Debug, Clone, Copy)]
pub struct ForeignModule {
    /// What `require` calls it.
    pub name: &'static str,
    /// Makes the function that `require` calls for its value.
    pub load: fn(&Lua) -> mlua::Result<Function>,
}

/// Connections of that program that scripts use as sockets: they may be written to and closed by their numbers, from
/// [`FIRST_FOREIGN_SOCKET`] on.
#[derive(Debug, Clone, Copy)]
pub struct ForeignSockets {
    /// Sends these bytes. False if there is no such connection, or if it takes no more.
    pub send: fn(u32, &[u8]) -> bool,
    /// Closes it once what was sent has left.
    pub close: fn(u32),
    /// Those that scripts listen for.
    pub streams: ForeignStreams,
}

/// Connections of that program that scripts listen for, start and read: they have numbers as sockets of services have.
/// [`ForeignStream`](crate::ForeignStream) is the program's end of one.
///
/// The functions are called on the thread of the services, and must not wait.
#[derive(Debug, Clone, Copy)]
pub struct ForeignStreams {
    /// A script listens at this address, with a socket of this number. If the program has the address, it gives that socket its
    /// connections.
    pub listen: fn(u32, SocketAddr) -> ForeignListening,
    /// The socket of this number listens no more.
    pub unlisten: fn(u32),
    /// Sends these bytes. False if the connection takes no more.
    pub send: fn(u32, &[u8]) -> bool,
    /// The script closes a connection.
    pub close: fn(u32, ForeignClose),
    /// The script has read from it, or written, or waits for more.
    pub progress: fn(u32),
    /// False once another process has the connection, and with it what no script has read.
    pub is_here: fn(u32) -> bool,
}

/// Who listens at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForeignListening {
    /// The program.
    Program,
    /// The service, by a socket of its own. With a text for the log.
    Service(Option<String>),
    /// Nobody can, for this reason.
    Refused(String),
}

/// How a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForeignClose {
    /// Once what was sent has left.
    Flushed,
    /// At once.
    Now,
}

/// Sockets of services have smaller numbers.
pub const FIRST_FOREIGN_SOCKET: u32 = 1 << 30;
