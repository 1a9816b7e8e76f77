//! Lua services that `moorline run` runs: what is documented of each function, and services that harm others.

mod answers;
mod bson;
mod configuration;
mod coverage;
mod crypt;
mod deployment;
mod gates;
mod groups;
mod hostile;
mod hosting;
mod launching;
mod looking;
mod messages;
mod modules;
mod names;
mod script;
mod sessions;
mod shapes;
mod shared;
mod socket_peers;
mod sockets;
mod sproto;
mod tracing;
mod waiting;
