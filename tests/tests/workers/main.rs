//! Workers and task workers: their jobs, their replacement, their wake-ups.

mod doorbells;
mod promptness;
mod recycling;
mod requests;
mod tasks;
