//! The command line: commands, `dial`, `bench`, and what the engine logs.

mod acts;
mod bench;
mod bench_rates;
mod bench_reports;
mod command;
mod demo;
mod dial;
mod doctor;
mod first;
mod log;
mod manual;
mod mistakes;
mod top;
