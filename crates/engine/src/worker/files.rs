//! Files on their way to the gateway: descriptors, and the credit that each takes.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;

use moorline_ipc::Header;
use rustc_hash::FxHashSet;
use tokio::sync::Semaphore;

use super::core::Core;
use super::outbox::Room;
use crate::app::SendError;
use crate::control_channel::ControlChannel;
use crate::wire::{FileSpan, FromProcess};

/// Files of this process that may be under way: each is an open descriptor of the gateway's until its peer has read it.
const FILES: usize = 256;

/// The way of descriptors to the gateway.
pub(crate) struct Files {
    channel: RefCell<Option<Rc<ControlChannel>>>,
    credit: Semaphore,
    under_way: RefCell<FxHashSet<u64>>,
    last: Cell<u64>,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            channel: RefCell::default(),
            credit: Semaphore::new(FILES),
            under_way: RefCell::default(),
            last: Cell::new(0),
        }
    }
}

impl Files {
    /// Begins with this gateway, or anew with another; what was under way to the old one is lost.
    pub(super) fn connect(&self, channel: ControlChannel) {
        *self.channel.borrow_mut() = Some(Rc::new(channel));
        let lost = std::mem::take(&mut *self.under_way.borrow_mut());
        self.credit.add_permits(lost.len());
    }

    /// A file is sent or given up. False if there was none of this number.
    pub(super) fn done(&self, number: u64) -> bool {
        let was_under_way = self.under_way.borrow_mut().remove(&number);
        if was_under_way {
            self.credit.add_permits(1);
        }
        was_under_way
    }
}

impl Core {
    /// Passes a file on, waiting for credit. Cancel-safe: it goes whole or not at all.
    pub(crate) async fn send_file(
        &self,
        session: u64,
        file: impl AsFd,
        span: &FileSpan,
    ) -> Result<(), SendError> {
        let files = &self.files;
        if files.credit.available_permits() == 0 && self.commitment.is_deadlocked() {
            return Err(SendError::NotServing);
        }
        // Never closed.
        let credit = files.credit.acquire().await.map_err(|_| SendError::Full)?;
        let number = files.last.get() + 1;
        files.last.set(number);
        let epoch = self.outbox.epoch();
        let name = (u128::from(session) << 64 | u128::from(number)).to_le_bytes();
        let channel = files.channel.borrow().clone();
        let sent = match channel {
            Some(channel) => channel.send_bytes(&name, &[file.as_fd()]).await,
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        // Its gateway has died, and the session with it.
        if sent.is_err() || epoch != self.outbox.epoch() {
            return Err(SendError::Closed);
        }
        credit.forget();
        files.under_way.borrow_mut().insert(number);
        let header = Header {
            kind: FromProcess::File as u8,
            session,
            sequence: number,
            ..Header::default()
        };
        // Plain values only: there is nothing in it that could fail to be written.
        let payload = postcard::to_stdvec(span).unwrap_or_default();
        let link = (session >> 56) as usize;
        // Always: its credit bounds it.
        let _ = self.outbox.record(link, header, &[&payload], Room::Always);
        Ok(())
    }
}
