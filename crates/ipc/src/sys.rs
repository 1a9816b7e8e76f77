//! The system calls that need `unsafe`, each behind a function that does not.

mod environment;
mod inherited;
mod mapping;
mod receive;
mod sealed;
mod send;
mod stack;

pub use environment::take_variable;
pub use inherited::inherited;
pub(crate) use mapping::Mapping;
pub(crate) use receive::receive_around;
pub(crate) use sealed::{check_sealed, create_sealed};
pub(crate) use send::{Piece, send_pieces};
pub use stack::{StackSampler, capture_stack, poll_traced};
