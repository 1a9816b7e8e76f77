//! A connection with framing, watermarks, reconnection and callbacks.
//!
//! [`Client`] is used in one of two ways. Awaited: [`connect`](Client::connect), [`send`](Client::send),
//! [`receive_message`](Client::receive_message), [`close`](Client::close). Or started with a [`Handler`], which is
//! called when something happens, and given the same client to answer with. From elsewhere, a [`Sender`] reaches
//! either.

mod attempts;
mod close;
mod closing;
mod connecting;
mod cork;
mod drive;
mod error;
mod file;
mod handler;
mod input;
mod link;
mod options;
mod output;
mod pipe;
mod queue;
mod receiving;
mod run;
mod running;
mod sender;
mod sending;
mod state;
mod stream;
mod watermarks;

pub use cork::Corked;
pub use error::{CloseReason, SendError, StreamError};
pub use handler::Handler;
pub use options::{ClientOptions, Reconnect, Unsent};
pub use running::Running;
pub use sender::{FileSource, Sender};
pub use state::Client;
