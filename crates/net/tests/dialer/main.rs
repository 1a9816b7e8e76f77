//! What a dial does, against real sockets of this machine.

mod hanging;
mod literals;
mod logged;
mod names;
mod options;
mod proxies;
mod secured;
mod support;
mod unix;
