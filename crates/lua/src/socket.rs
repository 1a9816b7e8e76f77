//! Sockets of services.
//!
//! A socket has a number that the whole process knows: any service may write to it, close it, or take it over. Its owner reads it, on the
//! owner's loop. What is ready wakes the owner by a message to its mailbox, and the owner then reads into a buffer that the loop shares.
//!
//! - `service_sockets`: the sockets of one service
//! - `listening_socket`: a listening one on its owner's loop
//! - `owned_socket`: any other on its owner's loop
//! - `descriptor_io`: receiving and sending, apart from who waits for it
//! - `registration`: a descriptor that a loop watches
//! - `opening`: connections and look-ups that are not finished
//! - `socket_registry`: the sockets of the process
//! - `shared_socket`: what all services may use of a socket
//! - `step`: what the owner of a socket has to do
//! - `event`: what happens to a socket
//! - `send_queue`: what waits to be sent
//! - `socket_input`: where an owned socket has what it has received
//! - `foreign_io`: what a connection of the embedding program has instead of a descriptor
//! - `waiting_connections`: those of them that no script knows yet
//! - `receive_buffer`: what was received and not read; `input_bytes`: its bytes
//! - `text`: addresses and errors as text

mod descriptor_io;
mod event;
mod foreign_io;
mod input_bytes;
mod listening_socket;
mod opening;
mod owned_socket;
mod receive_buffer;
mod registration;
mod send_queue;
mod service_sockets;
mod shared_socket;
mod socket_input;
mod socket_registry;
mod step;
mod text;
mod waiting_connections;

#[cfg(test)]
mod tests;

pub(crate) use event::{DecodedEvent, SocketEvent, SocketMode};
pub(crate) use foreign_io::ForeignIo;
pub use foreign_io::Unread;
pub(crate) use owned_socket::{OwnedSocket, SCRATCH_BYTES};
pub(crate) use receive_buffer::{ReadNeed, ReceiveBuffer};
pub(crate) use send_queue::SendPriority;
pub(crate) use service_sockets::{ServiceSockets, ServiceStep, SocketPlace, Started};
pub(crate) use shared_socket::{SharedSocket, SocketKind, local_of, peer_of};
pub(crate) use socket_registry::SocketRegistry;
pub(crate) use step::{ReadOutcome, ReadStart, Received, SocketStep};
pub(crate) use text::{address_bytes, address_in, io_text, peer_text, split_host_port};
pub(crate) use waiting_connections::WaitingEnd;
