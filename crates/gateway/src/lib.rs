//! The gateway: the process that holds every socket and runs no application code.
//!
//! The main thread speaks with the supervisor and hands what it says to the event loops; each loop owns its
//! sessions, and one ring pair with every process. A message never passes through the main thread.
//!
//! Every piece of state has one owner. A loop sees all of its own; a step on a session sees that session and the
//! `tools`, and returns the reason for the session's end instead of ending it.
//!
//! The modules, from top to bottom: each imports only those below it, and no two files import each other in a circle
//! (`cargo xtask test` checks both).
//!
//! - `main_thread`: the thread that speaks with the supervisor: `setup` of what a reload changes, `stopping`, files that workers pass
//! - `http`: HTTP listeners, up to the moment at which a request becomes a session
//! - `main_loop`: a turn of an event loop: events, records, commands, timers
//! - `invariants`: what holds between two turns
//! - `records`: from a ring record to its effect
//! - `events`: events on their way to all loops
//! - `accept`: from a connection to a session
//! - `relays`: relayed connections: how they begin, go on and end
//! - `udp_relays`: the same of datagrams
//! - `relief`: what a loop does when memory runs out
//! - `upgrade`: a loop on its way to another process, which goes on with it
//! - `turnover`: activate, configure, remove a process, drain: what a reload, a crash and a stop do
//! - `event_loop`: all that a loop owns
//! - `udp_relay`: one relayed client of datagrams
//! - `relay`: one relayed connection: from a client to a peer, and their bytes
//! - `service`: one session's turn
//! - `alarms`: the actions of a session's timer
//! - `pulse`: whether a session's peer still lives
//! - `features`: plain requests, posts, tasks, broadcasts, files, datagrams, requests, queries, and the reports of handlers
//! - `ending`: how a session ends: the one place that acts on an `End`
//! - `groups`: groups of sessions and their broadcasts
//! - `input`: read, cut, deliver, handshakes, the slowloris guard
//! - `output`: write, seal, flush, watermarks
//! - `placement`: the process of a session; the one rule by which it moves
//! - `suspects`: messages that were in progress when a process died
//! - `facts`: the facts of a session for processes and the operator
//! - `tls`: bytes from a socket, decrypted
//! - `timeouts`: the timers that watch a session
//! - `entry`: which clients may come in
//! - `own_address`: the local address of connections to peers
//! - `tools`: the tools of a step on one session
//! - `connection_facts`: what a connection fills into texts
//! - `tls_facts`: what TLS tells of a client, for texts
//! - `throttle`: which sessions are throttled near the memory limit
//! - `agenda`: what a loop does next
//! - `processes`: processes, slots and dispatch
//! - `timers`: what a loop does at some time
//! - `wheel`: when each of many sessions is looked at again
//! - `session`: a session, its parts and their phases, its output queue, the table
//! - `memory`: the one place that counts buffered bytes
//! - `cx`: the environment of a loop
//! - `commands`: the messages between the main thread and the loops
//! - `exchange`: a plain request and its answer, between the main thread and a loop
//! - `arrival`: how far a connection has got before it becomes a session
//! - `notes`: what a relay notes for its texts
//! - `pace`: how many bytes of each way of a relay may pass
//! - `shared`: the state that the loops share
//! - `access_log`: a line for each connection, and the thread that writes it
//! - `history`: the last events of groups
//! - `upstreams`: the peers of relays
//! - `peer_tls`: TLS towards peers
//! - `chosen_certificates`: certificates that connections choose for their peers
//! - `change`: the changes of a reload
//! - `start`: everything that a gateway starts with
//! - `rules`: which requests a listener's rules let through
//! - `session_request`: the request that asks for a session
//! - `host`: what may be the host of a request
//! - `forwarded`: whose request it is, by the headers of proxies
//! - `proxy_header`: whose connection it is, by the header of the PROXY protocol
//! - `client_hello`: what a TLS client asks for, before anything is decrypted
//! - `descriptor_limit`: how many descriptors a loop may have for connections
//! - `refusal_log`: how often refused connections are logged
//! - `sockets`: listening sockets
//! - `tcp`: the options by which the kernel finds out that a peer has vanished
//! - `file`: a file on its way
//! - `transfer`: transfers to a process without a session
//! - `poller`: the epoll set
//! - `scratch`: the buffers that a turn borrows
//! - `budget`: how many bytes relays move before others have their turn
//! - `pipes`: pipes between the sockets of relays
//! - `codecs`: the compression that all sessions of a loop share
//! - `burst`: how many are taken from one socket at once
//! - `clock`: the time
//! - `ids`: the names of a listener, a slot, a process, a session
//! - `stream`: what one gateway sends to the next
//! - `obstacles`: what cannot go to another process
//! - `kept`: how parts of a loop's state look on their way to another process

#![forbid(unsafe_code)]

mod accept;
mod access_log;
mod agenda;
mod alarms;
mod arrival;
mod budget;
mod burst;
mod change;
mod chosen_certificates;
mod client_hello;
mod clock;
mod codecs;
mod commands;
mod connection_facts;
mod cx;
mod descriptor_limit;
mod ending;
mod entry;
mod event_loop;
mod events;
mod exchange;
mod facts;
mod features;
mod file;
mod forwarded;
mod groups;
mod history;
mod host;
mod http;
mod ids;
mod input;
mod invariants;
mod kept;
mod main_loop;
mod main_thread;
mod memory;
mod notes;
mod obstacles;
mod output;
mod own_address;
mod pace;
mod peer_tls;
mod pipes;
mod placement;
mod poller;
mod processes;
mod proxy_header;
mod pulse;
mod records;
mod refusal_log;
mod relay;
mod relays;
mod relief;
mod rules;
mod scratch;
mod service;
mod session;
mod session_request;
mod shared;
mod sockets;
mod start;
mod stream;
mod suspects;
mod tcp;
#[cfg(test)]
mod tests;
mod throttle;
mod timeouts;
mod timers;
mod tls;
mod tls_facts;
mod tools;
mod transfer;
mod turnover;
mod udp_relay;
mod udp_relays;
mod upgrade;
mod upstreams;
mod wheel;

pub use main_thread::run;
pub use start::{GatewayStart, ListenerStart};
#[doc(hidden)]
pub use stream::greeting;

#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub use client_hello::invariants as hello_invariants;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub use http::invariants as http_invariants;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub use proxy_header::invariants as proxy_invariants;
