//! What an embedding program gives to the services that it runs.

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
}

/// Sockets of services have smaller numbers.
pub const FIRST_FOREIGN_SOCKET: u32 = 1 << 30;
