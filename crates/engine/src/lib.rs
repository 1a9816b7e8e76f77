//! Moorline's supervisor, gateway and workers.

pub mod app;
pub mod config;
pub mod control;
mod control_channel;
pub mod wire;
#[allow(dead_code)]
mod worker;
