//! What a client asks for while its hello is looked at.
//!
//! rustls asks for a certificate through a configuration that all connections share, and tells a connection without buffers
//! nothing of the hello. A handshake goes on as a whole on one thread, so this is how one connection learns it.

use std::cell::RefCell;

/// The alert that rustls sends where there is no certificate, and the right one (RFC 6066 §3).
const ACCESS_DENIED: u8 = 49;
const UNRECOGNIZED_NAME: u8 = 112;

#[derive(Default)]
struct AskedName {
    name: Option<Box<str>>,
    is_rejected: bool,
}

thread_local! {
    static ASKED: RefCell<AskedName> = RefCell::default();
}

/// Forgets what was noted.
pub(super) fn forget() {
    ASKED.take();
}

/// A client asks for this host. `is_rejected`: it is not served.
pub(super) fn note(name: Option<&str>, is_rejected: bool) {
    let name = name.map(Into::into);
    ASKED.replace(AskedName { name, is_rejected });
}

/// The host that was asked for since it was last forgotten.
pub(super) fn take_name() -> Option<Box<str>> {
    ASKED.with_borrow_mut(|asked| asked.name.take())
}

/// Puts the right alert in place of the last one, if a host was rejected.
pub(super) fn correct(answer: &mut [u8]) {
    let is_rejected = ASKED.with_borrow_mut(|asked| std::mem::take(&mut asked.is_rejected));
    // A record of its own: kind, version, length, level, alert.
    if let [.., 21, 3, _, 0, 2, 2, alert @ ACCESS_DENIED] = answer
        && is_rejected
    {
        *alert = UNRECOGNIZED_NAME;
    }
}
