//! Sessions: their hooks, their data, the worker that serves them, and half-closed connections.

mod dispatch;
mod early;
mod half_close;
mod lockers;
mod reading;
mod sessions;
