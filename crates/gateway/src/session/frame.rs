//! A message as the sessions of a group share it.

use std::cell::Cell;
use std::ops::Deref;
use std::rc::Rc;

/// A message as it is sent, once for all its receivers.
#[derive(Debug)]
pub(crate) struct Frame {
    bytes: Vec<u8>,
    shared: Rc<Cell<u64>>,
}

impl Frame {
    /// The same bytes, counted in `shared` as long as a queue has them.
    pub(crate) fn new(bytes: Vec<u8>, shared: &Rc<Cell<u64>>) -> Rc<Self> {
        shared.set(shared.get() + bytes.len() as u64);
        Rc::new(Self {
            bytes,
            shared: shared.clone(),
        })
    }
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        let held = self.shared.get();
        self.shared.set(held - self.bytes.len() as u64);
    }
}
