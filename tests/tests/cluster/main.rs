//! Engines on several machines, as three on one, with a real NATS server.

mod calls;
mod crowd;
mod entry;
mod faults;
mod fixture;
mod groups;
mod lua;
mod posts;
mod presence;
mod reloads;
mod sessions;
