//! Moorline's supervisor, gateway and workers.

pub mod app;
pub mod command;
pub mod config;
pub mod control;
mod control_channel;
mod gateway;
mod log;
pub mod role;
pub mod supervisor;
pub mod wire;
mod worker;
