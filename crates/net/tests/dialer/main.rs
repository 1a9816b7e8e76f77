//! What a dial does, against real sockets of this machine. C6, C8, C15, C16, B5, B6, Z7, N2, N3.

mod hanging;
mod literals;
mod names;
mod options;
mod proxies;
mod secured;
mod support;
mod unix;
