//! Processes that crash, fail or hang: the sessions stay, and the gateway handles their messages as configured.

mod errors;
mod stalls;
mod vitals;
mod workers;
