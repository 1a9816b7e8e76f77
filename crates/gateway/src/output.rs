//! From a message to the socket: frame, write, flush, watermarks.

pub(crate) mod compress;
pub(crate) mod event;
pub(crate) mod flush;
pub(crate) mod payload;
pub(crate) mod reply;
pub(crate) mod sealing;
pub(crate) mod watermarks;
pub(crate) mod write;
