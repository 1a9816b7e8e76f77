//! A real loop, driven by a script: its sockets, its processes and its clock belong to the test.

mod behind;
mod blame;
mod client;
mod events;
mod exchanges;
mod files;
mod full;
mod input;
mod kept_form;
mod last_events;
mod memory;
mod pings;
mod placing;
mod process;
mod proxied;
mod random;
mod relay_faults;
mod relay_pipes;
mod relays;
mod script;
mod storm;
mod udp_relays;
mod upgrade;
mod waits;
mod web;
mod without_workers;
