//! An event in a record: its id, its name and its data.

/// In `aux` of `FromProcess::Send` and `FromProcess::Broadcast`: the message is an event, as [`write_event`] writes it.
pub const EVENT: u16 = 1;
/// The longest id of an event, in bytes.
pub const LONGEST_EVENT_ID: usize = 128;
/// The longest name of an event, in bytes.
pub const LONGEST_EVENT_NAME: usize = 64;
/// The most bytes that an event has in a record beside its data.
pub const EVENT_OVERHEAD: usize = 2 + LONGEST_EVENT_ID + LONGEST_EVENT_NAME;

/// An event, as it is sent to a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its id; empty if it has none. At most [`LONGEST_EVENT_ID`] bytes.
    pub id: &'a str,
    /// Its name; empty if it has none. At most [`LONGEST_EVENT_NAME`] bytes.
    pub name: &'a str,
    /// Its data.
    pub data: &'a str,
}

/// Whether an id or a name of an event may have this text: it stands on one line. NUL is no part of an id, says the standard of
/// server-sent events.
pub fn is_event_word(text: &str) -> bool {
    !text.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

/// Appends an event: one byte with the length of its id, the id, one byte with the length of its name, the name, the data. Id
/// and name are no longer than they may be.
pub fn write_event(event: Event<'_>, out: &mut Vec<u8>) {
    for word in [event.id, event.name] {
        out.push(word.len() as u8);
        out.extend_from_slice(word.as_bytes());
    }
    out.extend_from_slice(event.data.as_bytes());
}

/// The event that [`write_event`] has written; none, if these bytes are not one.
pub fn split_event(bytes: &[u8]) -> Option<Event<'_>> {
    let (id, rest) = split_word(bytes, LONGEST_EVENT_ID)?;
    let (name, data) = split_word(rest, LONGEST_EVENT_NAME)?;
    let data = str::from_utf8(data).ok()?;
    Some(Event { id, name, data })
}

fn split_word(bytes: &[u8], longest: usize) -> Option<(&str, &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    let (word, rest) = rest.split_at_checked(usize::from(length))?;
    let word = str::from_utf8(word).ok()?;
    (word.len() <= longest && is_event_word(word)).then_some((word, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(event: Event<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        write_event(event, &mut out);
        out
    }

    #[test]
    fn an_event_is_read_as_it_was_written() {
        let longest = "i".repeat(LONGEST_EVENT_ID);
        let name = "n".repeat(LONGEST_EVENT_NAME);
        for (id, name, data) in [
            ("", "", ""),
            ("7", "", "a\nb"),
            ("", "token", "żółć"),
            (&longest, &name, "\0"),
        ] {
            let event = Event { id, name, data };
            assert_eq!(split_event(&written(event)), Some(event));
        }
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let of = |id, name| written(Event { id, name, data: "" });
        let (long_id, long_name) = (
            "i".repeat(LONGEST_EVENT_ID + 1),
            "n".repeat(LONGEST_EVENT_NAME + 1),
        );
        for bytes in [
            Vec::new(),
            vec![1],
            vec![0],
            vec![1, 0xff, 0],
            vec![0, 0, 0xff],
            of("a\nb", ""),
            of("a\0", ""),
            of("", "a\rb"),
            of(&long_id, ""),
            of("", &long_name),
        ] {
            assert_eq!(split_event(&bytes), None, "{bytes:?}");
        }
    }
}
