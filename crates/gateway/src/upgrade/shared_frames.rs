//! The frames that queues of a loop share. Each travels once, however many sessions are to get it.

use std::io;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::session::Session;
use crate::session::frame::Frame;
use crate::session::queue::Outbound;

/// The frames in the queues of a loop, in the order in which they travel.
pub(super) struct SharedFrames<'a> {
    frames: Vec<&'a [u8]>,
    places: FxHashMap<*const Frame, u32>,
}

impl<'a> SharedFrames<'a> {
    pub(super) fn of(sessions: impl Iterator<Item = &'a Session>) -> Self {
        let mut found = Self {
            frames: Vec::new(),
            places: FxHashMap::default(),
        };
        let queues = sessions.filter_map(|session| session.output.queue.as_deref());
        for frame in queues.flat_map(Outbound::frames) {
            let next = found.frames.len() as u32;
            found.places.entry(Rc::as_ptr(frame)).or_insert_with(|| {
                found.frames.push(frame);
                next
            });
        }
        found
    }

    /// Their bytes.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> {
        self.frames.iter().copied()
    }

    /// Which of them are in a session's queue.
    pub(super) fn places(&self, session: &Session) -> io::Result<Vec<u32>> {
        let frames = session.output.queue.iter().flat_map(|it| it.frames());
        let places = frames.map(|frame| self.places.get(&Rc::as_ptr(frame)).copied());
        let places: Option<_> = places.collect();
        places.ok_or_else(|| io::Error::other("a frame is in a queue that had not been looked at"))
    }
}
