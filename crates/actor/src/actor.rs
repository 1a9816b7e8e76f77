//! The code behind a mailbox.

use crate::message::Message;

/// A service without types: a host of another language.
///
/// It is made on its loop, with its [`Port`](crate::Port), and stays there. It may keep what is not `Send`.
pub trait Actor {
    /// Handles a message. The loop serves nobody else meanwhile, so it does not block.
    ///
    /// A panic ends the service, and is reported.
    fn receive(&mut self, message: Message);
}
