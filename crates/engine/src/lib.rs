//! The way into every process of an engine, and what the façade needs of them.
//!
//! [`role::run_if_role`] runs the role that this process was started for: gateway, worker, task worker or helper.
//! [`supervisor`] starts and watches them all. They live in crates of their own, which never name each other, and this
//! crate alone knows them all. The command line is the façade's.
//!
//! - `moorline_config`: what a configuration says, and how it is checked
//! - `moorline_protocol`: what the processes say to each other, and what commands say to an engine
//! - `moorline_process`: what each process does for itself
//! - `moorline_supervisor`: start, reload, crash, stop
//! - `moorline_gateway`: sockets, framings, sessions
//! - `moorline_worker`: rings, handlers, the app
//! - `moorline_admin`: the page and metrics

#![forbid(unsafe_code)]

pub mod role;

pub use moorline_admin as admin;
pub use moorline_config as config;
pub use moorline_process::machine::memory_available;
pub use moorline_process::open_files::{Descriptors, TooFew};
pub use moorline_process::relay_pipes::RelayPipes;
pub use moorline_process::rights::may_use_other_addresses;
pub use moorline_protocol::{command, control, flight, session_id, wire};
pub use moorline_supervisor as supervisor;
pub use moorline_worker::app;
/// An engine in a test's own process: see `moorline::testing`.
#[cfg(feature = "testing")]
pub use moorline_worker::testing;
