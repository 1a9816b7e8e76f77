//! The engine on its host: systemd, rights, helpers and hooks.

mod acts;
mod alongside;
mod pictures;
mod rights;
mod service;
mod systemd;
mod telemetry;
mod watching;
