//! Moorline's supervisor, gateway and workers.

pub mod config;
pub mod control;
pub mod wire;
