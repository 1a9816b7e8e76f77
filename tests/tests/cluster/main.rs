//! Engines on several machines, as three on one, with a real NATS server.

mod entry;
mod faults;
mod fixture;
mod groups;
mod reloads;
mod sessions;
