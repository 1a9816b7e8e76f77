//! What a loop does at the moment, for those who look from another thread.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::id::ServiceId;

/// Written by the loop with each message, read by the watchdog.
#[derive(Debug, Default)]
pub(crate) struct Vitals {
    /// Rises with each message.
    messages: AtomicU64,
    service: AtomicU32,
    source: AtomicU32,
    /// The code of the service is dropped.
    is_end: AtomicBool,
}

/// A message that is being handled, or a service's code that is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handling {
    pub(crate) message: u64,
    pub(crate) service: ServiceId,
    pub(crate) source: ServiceId,
    pub(crate) is_end: bool,
}

impl Vitals {
    /// Only the loop itself calls it, so that plain stores do.
    pub(crate) fn begin(&self, service: ServiceId, source: ServiceId) {
        let messages = self.messages.load(Ordering::Relaxed);
        self.messages.store(messages + 1, Ordering::Relaxed);
        self.service.store(service.number(), Ordering::Relaxed);
        self.source.store(source.number(), Ordering::Relaxed);
    }

    /// The service has returned.
    pub(crate) fn end(&self) {
        self.service.store(0, Ordering::Relaxed);
    }

    /// Drops the code of a service that has ended.
    pub(crate) fn drop_code<T>(&self, service: ServiceId, code: T) {
        self.is_end.store(true, Ordering::Relaxed);
        self.begin(service, ServiceId::NONE);
        drop(code);
        self.end();
        self.is_end.store(false, Ordering::Relaxed);
    }

    /// What is being handled. A look may mix two messages; a second look that equals the first one does not.
    pub(crate) fn look(&self) -> Option<Handling> {
        let handling = Handling {
            message: self.messages.load(Ordering::Relaxed),
            service: ServiceId::from_number(self.service.load(Ordering::Relaxed)),
            source: ServiceId::from_number(self.source.load(Ordering::Relaxed)),
            is_end: self.is_end.load(Ordering::Relaxed),
        };
        (handling.service != ServiceId::NONE).then_some(handling)
    }
}
