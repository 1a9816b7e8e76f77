//! Requests of apps beside the messages of their sessions.

pub(crate) mod answers;
pub(crate) mod broadcasts;
pub(crate) mod datagrams;
pub(crate) mod exchanges;
pub(crate) mod files;
pub(crate) mod handlers;
pub(crate) mod posts;
pub(crate) mod queries;
pub(crate) mod requests;
pub(crate) mod tasks;
pub(crate) mod verdicts;
