//! The engine on its host: systemd, rights, helpers and hooks.

mod alongside;
mod rights;
mod service;
mod systemd;
mod watching;
