//! What the processes of an engine tell each other, and what a command tells an engine.
//!
//! - [`session_id`]: the name of a session
//! - [`wire`]: the records in the rings between gateway and workers
//! - [`control`]: the messages between supervisor and roles; [`control_channel`]: how they travel
//! - [`flight`]: the last events of each thread, and the files that they are kept in after a crash
//! - [`start`]: how the supervisor starts a role
//! - [`command`]: the requests and answers on the control socket; [`run_dir`]: where that socket is
//!
//! It knows nothing of the work of supervisor, gateway and worker.

#![forbid(unsafe_code)]

pub mod command;
pub mod control;
pub mod control_channel;
pub mod flight;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod invariants;
pub mod run_dir;
pub mod session_id;
pub mod start;
pub mod wire;
