//! In place of a connection to NATS, in programs that are built without it.

use std::rc::Rc;

use bytes::Bytes;
use moorline_config::Cluster;
use tokio::sync::watch;

/// Why something was not handed to NATS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(dead_code, reason = "without a connection there is one reason")]
pub(crate) enum Unpublished {
    Away,
    Full,
    TooLarge(usize),
}

/// How the connection is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(dead_code, reason = "it is never up")]
pub(crate) enum LinkState {
    Up,
    Away(Option<String>),
}

/// There is none.
#[derive(Debug)]
pub(crate) enum Connection {}

/// There is nothing.
#[derive(Debug)]
pub(crate) enum Arriving {}

impl Connection {
    pub(crate) async fn open(_: &Cluster, _: &str) -> Result<Rc<Self>, String> {
        Err(
            "[cluster]: this program is built without clusters: build it with the feature `cluster`"
                .to_owned(),
        )
    }

    pub(crate) fn is_up(&self) -> bool {
        match *self {}
    }

    pub(crate) fn state(&self) -> watch::Receiver<LinkState> {
        match *self {}
    }

    pub(crate) fn publish(&self, _: &str, _: Bytes) -> Result<(), Unpublished> {
        match *self {}
    }

    pub(crate) async fn follow(&self, _: String) -> Result<Arriving, String> {
        match *self {}
    }

    pub(crate) async fn flush(&self) {
        match *self {}
    }
}

impl Arriving {
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        match *self {}
    }
}
