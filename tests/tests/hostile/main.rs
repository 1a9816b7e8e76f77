//! Bad input from clients, and workers that attack the engine.

mod input;
mod key_updates;
mod requests;
mod worker;
