//! In place of a connection to NATS, in programs that are built without it.

use std::rc::Rc;

use bytes::Bytes;
use moorline_config::Cluster;
use tokio::sync::watch;

use crate::link_state::{LinkState, Unpublished};

/// The name that the others use.
pub(crate) use NoConnection as Connection;

/// There is none.
#[derive(Debug)]
pub(crate) enum NoConnection {}

/// There is nothing.
#[derive(Debug)]
pub(crate) enum NothingArrives {}

impl NoConnection {
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

    pub(crate) async fn follow(&self, _: String) -> Result<NothingArrives, String> {
        match *self {}
    }

    pub(crate) async fn flush(&self) {
        match *self {}
    }
}

impl NothingArrives {
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        match *self {}
    }
}
