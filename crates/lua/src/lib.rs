//! Services in Lua, written for skynet: a Lua state for each, on the event loops of `moorline-actor`.
//!
//! [`run`] runs a service, which a script or a configuration names, and those that it launches. A service has the module `skynet` with its documented names. Messages are
//! handed to coroutines of its state, so a call costs no future of Rust, and a service that waits costs a coroutine.
//!
//! # How a message gets to a coroutine
//!
//! The loop hands a `LuaService` one message at a time. It unpacks the values of messages of the kind `lua` and of answers to calls
//! onto Lua's stack, and calls the state's dispatcher with them: one call from Rust to Lua for each message. The dispatcher (`crates/lua/lua/skynet.lua`) resumes
//! the coroutine that waits for the session, or takes an idle one for a request. `skynet.call` packs, sends and notes the coroutine under the
//! session in one call from Lua to Rust, and yields. So a call and its answer cross the border four times.
//!
//! Two states share nothing: values are packed on one side and unpacked on the other, also on one loop.
//!
//! # What a service costs
//!
//! Each state has its own copy of the module. `skynet.lua` is what every service uses, compiled once for the process and without lines;
//! `rest.lua` is loaded when something else is asked for, and functions of Rust are made when they are first used.
//!
//! This crate knows nothing of the gateway and of workers.
//!
//! The modules, from top to bottom; none uses one above it:
//!
//! - `host`: runs the services of a process; `embedded`: on a thread of somebody else's
//! - `sdk`: files for editors and C compilers
//! - `foreign_stream`: connections of the program that embeds the services
//! - `hangup`: the signal to open the log again
//! - `pid_file`: a process that leaves its terminal
//! - `service`: a Lua state, and how it gets messages
//! - `core`: the functions that the Lua modules stand on
//! - `last_searcher`: modules in C, and older names of modules
//! - `sending`: those of them that send
//! - `native`: the modules that are written in Rust
//! - `mongo`: `skynet.mongo.driver`
//! - `bson`: `bson`
//! - `clients`: `client.socket` of a script that is no service
//! - `crypt`: `skynet.crypt`
//! - `lpeg`: `lpeg`
//! - `md5`: `md5`
//! - `secrets`: what drivers of databases prove passwords with
//! - `refused`: functions that cannot work here
//! - `shared`: `skynet.sharedata.core`
//! - `stm`: `skynet.stm`
//! - `sproto`: `sproto.core` and `sprotoparser`
//! - `tls`: `ltls.c`
//! - `module`: a table of functions of Rust
//! - `closing`: the end of a state
//! - `socket_functions`: those of them that are about sockets
//! - `netpack`: those of them that cut packets
//! - `frames`: those of them that cut frames of WebSocket
//! - `serialization`: those of them that translate messages between nodes
//! - `socket_messages`: what happens to sockets, told to scripts
//! - `state`: what those functions share
//! - `process`: what the services of a process share
//! - `commons`: what modules share between services
//! - `message_logs`: what services receive, in files
//! - `socket`: the sockets of services
//! - `packets`: packets in what sockets receive
//! - `builtin`: the modules that come with the program; `foreign`: those of a program that embeds the services
//! - `scripts`: the scripts of services, compiled
//! - `options`: what runs, and how
//! - `configuration`: the files that say so
//! - `kinds`: a set of kinds of messages
//! - `held`: messages that a script holds
//! - `plain`: values that code without a state makes and reads
//! - `invariants`: what holds for any packed values
//! - `pack`: values as bytes
//! - `output`: lines that people read
//! - `log_file`: the log in a file
//! - `outlet`: standard output, written by a thread of its own
//! - `watches`: looks at services that do not return
//! - `sys`: what mlua calls unsafe: a state and its memory, and a look into a state that runs
//! - `packed`: what packed bytes say

#![deny(unsafe_code)]

mod bson;
mod builtin;
mod clients;
mod closing;
mod commons;
mod configuration;
mod core;
mod crypt;
mod embedded;
mod foreign;
mod foreign_stream;
mod frames;
mod hangup;
mod held;
mod host;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod invariants;
mod kinds;
mod last_searcher;
mod log_file;
mod lpeg;
mod md5;
mod message_logs;
mod module;
mod mongo;
mod native;
mod netpack;
mod options;
mod outlet;
mod output;
mod pack;
mod packed;
mod packets;
mod pid_file;
mod plain;
mod process;
mod refused;
mod scripts;
mod sdk;
mod secrets;
mod sending;
mod serialization;
mod service;
mod shared;
mod socket;
mod socket_functions;
mod socket_messages;
mod sproto;
mod state;
mod stm;
mod sys;
mod tls;
mod watches;

pub use closing::function as foreign_function;
pub use configuration::ConfigurationError;
pub use embedded::{Embedded, EmbeddedOptions};
pub use foreign::{
    FIRST_FOREIGN_SOCKET, ForeignClose, ForeignListening, ForeignModule, ForeignSockets,
    ForeignStreams,
};
pub use foreign_stream::{ForeignPorts, ForeignStream};
pub use host::{Ended, run};
pub use options::RunOptions;
pub use outlet::flush as flush_output;
pub use plain::Plain;
pub use sdk::write_sdk;
pub use socket::Unread;
