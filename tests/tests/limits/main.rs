//! Limits on sessions, memory, descriptors and slow readers.

mod budget;
mod descriptors;
mod held;
mod listener;
mod memory;
mod shortage;
mod slow;
