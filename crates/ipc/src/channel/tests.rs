//! Channels between threads, as between processes.
