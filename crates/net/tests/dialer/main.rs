//! What a dial does, against real sockets of this machine. C6, C8, C15, C16, B5, B6, Z7, Z12, Z13, N2, N3.

mod hanging;
mod literals;
mod logged;
mod names;
mod options;
mod proxies;
mod secured;
mod support;
mod unix;
