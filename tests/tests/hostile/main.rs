//! Bad input from clients, and workers that attack the engine.

mod input;
mod requests;
mod worker;
