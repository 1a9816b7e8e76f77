//! What some programs of `cargo xtask bench` share: servers that are compared in turns on one CPU, and their clients on another.
//!
//! In reading order: `figures` (what was measured), `server` (what is measured), `load` (clients that ask again and again),
//! `websocket` and `http` (what they speak), `bystander` (a session beside them), `resting` (many that do nothing).

pub mod bystander;
pub mod figures;
pub mod http;
pub mod load;
pub mod resting;
pub mod server;
pub mod websocket;

/// An error is printed, and nothing else becomes of it.
pub type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;
