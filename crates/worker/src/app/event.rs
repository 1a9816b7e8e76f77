//! Events: messages with an id and a name, as clients of server-sent events know them.

use crate::app::{SendError, SizeLimit};
use crate::wire::event::{Event, LONGEST_EVENT_ID, LONGEST_EVENT_NAME, is_event_word, write_event};

/// An event as it travels.
///
/// # Errors
/// [`SendError::TooLarge`] for its id and its name, and [`SendError::BadEvent`].
pub(super) fn encode(id: &str, name: &str, data: &str) -> Result<Vec<u8>, SendError> {
    for (limit, text, longest) in [
        (SizeLimit::EventId, id, LONGEST_EVENT_ID),
        (SizeLimit::EventName, name, LONGEST_EVENT_NAME),
    ] {
        let (size, max) = (text.len() as u64, longest as u64);
        if size > max {
            return Err(SendError::TooLarge { limit, size, max });
        }
        if !is_event_word(text) {
            return Err(SendError::BadEvent);
        }
    }
    let mut bytes = Vec::with_capacity(data.len() + id.len() + name.len() + 2);
    write_event(Event { id, name, data }, &mut bytes);
    Ok(bytes)
}
