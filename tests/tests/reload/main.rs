//! Reload: every change is applied without closing a session, or nothing changes.

mod limits;
mod listeners;
mod live;
mod transaction;
mod uncommitted;
mod workers;
