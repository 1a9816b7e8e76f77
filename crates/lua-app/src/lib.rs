//! An app whose handlers are services in Lua: what the `moorline` command serves where the configuration names a script.
//!
//! Each worker runs the script and the services that it launches, on its own thread beside the hooks. A service that calls
//! `require("moorline").serve` gets sessions: their hooks become calls to it, and a hook ends when its call does. So a reload waits for what a
//! service has begun, and an error in Lua is an error of its hook.
//!
//! The modules, from top to bottom; none uses one above it:
//!
//! - `app`: the hooks
//! - `cluster_requests`: what other nodes ask of services
//! - `functions`: what the module `moorline` stands on
//! - `gate`: sessions that scripts know as sockets
//! - `streams`: sessions that scripts listen for as sockets
//! - `serving`: which service has which session
//! - `gate_sessions`: numbers and packets of those
//! - `stream`: one of those that are sockets
//! - `stream_output`: what scripts have written to it
//! - `websocket_wire`: a WebSocket as the bytes that scripts read and write
//! - `http`: requests and answers as values
//! - `asked`: what services ask of the engine
//! - `cluster`: calls to services of other nodes
//! - `bridge`: calls from hooks to services
//! - `settings`: the `[app]` table

#![forbid(unsafe_code)]

mod app;
mod asked;
mod bridge;
mod cluster;
mod cluster_requests;
mod functions;
mod gate;
mod gate_sessions;
mod http;
mod serving;
mod settings;
mod stream;
mod stream_output;
mod streams;
mod websocket_wire;

pub use app::LuaApp;
pub use settings::LuaSettings;
