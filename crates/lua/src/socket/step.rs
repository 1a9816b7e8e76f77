//! What the owner of a socket has to do.

use super::event::SocketEvent;

/// What the owner has to do.
#[derive(Debug)]
pub(crate) enum SocketStep {
    /// A message to the script.
    Event(SocketEvent),
    /// A coroutine goes on.
    Answer(u32, ReadOutcome),
    /// A line for the log.
    Log(String),
    /// The socket is closed, or another service has it.
    Gone,
}

/// What a reading coroutine gets.
#[derive(Debug)]
pub(crate) enum ReadOutcome {
    Data(Received),
    /// The stream is over: what is left of it.
    Over(Vec<u8>),
    /// There is no memory for it, so that the socket has ended.
    NoMemory(String),
    /// Whether there is something to read.
    State(bool),
    /// Connected or taken over, or why not.
    Opened(Result<u32, String>),
}

/// Bytes for a script.
#[derive(Debug)]
pub(crate) enum Received {
    /// The first ones of the loop's scratch buffer.
    Scratch(usize),
    Own(Vec<u8>),
}

/// Whether a read is over at once.
#[derive(Debug)]
pub(crate) enum ReadStart {
    Done(ReadOutcome),
    Waits,
}
