//! A client that queues what it sends.

use std::ops::{Deref, DerefMut};

use super::state::Client;

/// A client whose sends only queue. When it is dropped they go out together.
///
/// More than 64 KiB are not held back.
#[derive(Debug)]
pub struct Corked<'a> {
    client: &'a mut Client,
    was_corked: bool,
}

impl<'a> Corked<'a> {
    pub(super) fn new(client: &'a mut Client) -> Self {
        let was_corked = std::mem::replace(&mut client.output.corked, true);
        Self { client, was_corked }
    }
}

impl Deref for Corked<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.client
    }
}

impl DerefMut for Corked<'_> {
    fn deref_mut(&mut self) -> &mut Client {
        self.client
    }
}

impl Drop for Corked<'_> {
    fn drop(&mut self) {
        let Client {
            connection, output, ..
        } = &mut *self.client;
        output.corked = self.was_corked;
        if let Some(connection) = connection
            && !output.corked
        {
            output.write_now(connection);
        }
    }
}
