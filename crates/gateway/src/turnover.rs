//! What a reload, a crash, a stop and a drain do to processes and sessions.

pub(crate) mod activate;
pub(crate) mod configure;
pub(crate) mod draining;
pub(crate) mod removal;
