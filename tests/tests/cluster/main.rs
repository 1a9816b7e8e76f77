//! Engines on several machines, as three on one, with a real NATS server.

mod entry;
mod faults;
mod fixture;
mod reloads;
mod sessions;
