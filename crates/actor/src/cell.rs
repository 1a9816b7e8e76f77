//! One service on its loop.

use std::time::Duration;

use crate::actor::Actor;
use crate::id::ServiceId;
use crate::mailbox::Mailbox;
use crate::message::Session;
use crate::owed::Owed;

/// All that a loop keeps of a service.
pub(crate) struct ServiceCell {
    pub(crate) id: ServiceId,
    pub(crate) phase: Phase,
    pub(crate) is_daemon: bool,
    pub(crate) mailbox: Mailbox,
    pub(crate) owed: Owed,
    /// The service that waits until this one is ready.
    pub(crate) launcher: Option<(ServiceId, Session)>,
    /// Why it ends before it is ready.
    pub(crate) failure: Option<Box<str>>,
    /// The services that get a message at its end.
    pub(crate) watchers: Vec<ServiceId>,
    /// Away while it handles a message.
    pub(crate) actor: Option<Box<dyn Actor>>,
    /// The messages that it has taken.
    pub(crate) handled: u64,
    /// How long it has run since somebody asked for such times.
    pub(crate) busy: Duration,
}

/// What a loop does with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing: it has no message.
    Idle,
    /// It is on the list of services that are run next.
    Queued,
    /// It runs.
    Running,
    /// It waits until another service has less to do.
    Paused,
    /// It is removed when it is run next, or stops running.
    Ending,
}
