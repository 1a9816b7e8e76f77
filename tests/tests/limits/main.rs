//! Limits on sessions, memory, descriptors and slow readers.

mod budget;
mod closed;
mod descriptors;
mod handshakes;
mod held;
mod listener;
mod memory;
mod shortage;
mod slow;
mod turned_away;
mod vanished;
