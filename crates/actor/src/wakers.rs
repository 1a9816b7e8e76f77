//! Wakers of what a service waits for.

use std::sync::Arc;
use std::task::{Wake, Waker};

use crate::id::ServiceId;
use crate::inbox::Letter;
use crate::local::Local;
use crate::message::{Kind, Message, Payload, Session};
use crate::shared::Shared;

/// Wakes a service by a message with this session: from any thread, and in order with other messages.
pub(crate) fn waker(service: ServiceId, session: Session, shared: Arc<Shared>) -> Waker {
    Arc::new(ServiceWaker {
        service,
        session,
        shared,
    })
    .into()
}

struct ServiceWaker {
    service: ServiceId,
    session: Session,
    shared: Arc<Shared>,
}

impl Wake for ServiceWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let Some(place) = self.shared.table.place(self.service) else {
            return;
        };
        let message = Message {
            source: self.service,
            session: self.session,
            kind: Kind::WOKEN,
            payload: Payload::Empty,
        };
        // The loop's own sockets wake it on its thread, where no lock is needed.
        let local = Local::current()
            .filter(|local| local.index == place.on && Arc::ptr_eq(&local.shared, &self.shared));
        match (local, place.cell) {
            // A mailbox takes every wake-up.
            (Some(local), Some(cell)) => {
                let _ = local.push(cell, message);
            }
            _ => {
                let inbox = &self.shared.loops[usize::from(place.on)].inbox;
                inbox.put(Letter::Message(self.service, message));
            }
        }
    }
}
