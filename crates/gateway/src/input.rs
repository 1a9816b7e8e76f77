//! From the socket to the ring: read, cut, deliver.

pub(crate) mod cut;
pub(crate) mod deliver;
pub(crate) mod direct;
pub(crate) mod dropped;
pub(crate) mod expect;
pub(crate) mod failed_handshake;
pub(crate) mod handshake;
pub(crate) mod hello;
pub(crate) mod proxied;
pub(crate) mod read;
pub(crate) mod request;
pub(crate) mod server;
pub(crate) mod slowloris;
pub(crate) mod turning_away;
