//! The command line: commands, `dial`, `bench`, and what the engine logs.

mod bench;
mod command;
mod dial;
mod doctor;
mod first;
mod log;
mod manual;
