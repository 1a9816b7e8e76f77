//! Messages to many sessions, to other workers, and from outside a session's own worker.

mod groups;
mod posts;
mod sending;
