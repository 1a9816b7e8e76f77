//! Processes that crash, fail or hang: the sessions stay, and the gateway handles their messages as configured.

mod errors;
mod flight;
mod neighbours;
mod stalls;
mod vitals;
mod workers;
