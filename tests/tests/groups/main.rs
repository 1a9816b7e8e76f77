//! Messages to many sessions, to other workers, and from outside a session's own worker.

mod groups;
mod history;
mod history_memory;
mod posts;
mod publish;
mod sending;
