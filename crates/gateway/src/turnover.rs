//! The effects of a reload, a crash, a stop and a drain on processes and sessions.

pub(crate) mod activate;
pub(crate) mod configure;
pub(crate) mod draining;
pub(crate) mod removal;
