//! A worker on a thread of its own, with the test as its gateway and supervisor.

mod fixture;
mod messages;
mod process;
mod redelivery;
mod scripted;
mod sending;
