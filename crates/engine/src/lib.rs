//! Moorline's supervisor, gateway and workers: connections that outlive the code that serves them.
//!
//! An app implements [`app::App`]; [`role::run_if_role`] runs whatever role this process was started for,
//! [`supervisor`] starts and watches them all, and [`command`] asks a running engine for things. This crate
//! knows nothing of Lua or of upstreams, and leaves the command line to the façade.
//!
//! In reading order:
//!
//! - [`app`]: what an app is and what it can do
//! - [`SessionId`](app::SessionId): how a session is named everywhere
//! - [`wire`]: what the records in the rings mean; [`control`]: what supervisor and roles say to each other
//! - [`config`]: what a configuration says, and how it is checked
//! - [`supervisor`]: start, reload, crash, stop, decided in `supervisor/plan` and carried out around it
//! - [`role`]: how a started process becomes gateway, worker or task worker
//! - `gateway`: sockets, framings, sessions; `worker`: rings, handlers, the app
//! - [`command`]: the control socket; [`Descriptors`]: how many open files all of it needs

#![forbid(unsafe_code)]

pub mod app;
pub mod command;
pub mod config;
pub mod control;
mod control_channel;
mod credentials;
mod descriptors;
mod disk_file;
mod gateway;
mod log;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod properties;
pub mod role;
mod session_id;
pub mod supervisor;
pub mod wire;
mod worker;

pub use descriptors::{Descriptors, TooFew};
