//! Words from elsewhere, in messages for people.

/// The text without what a terminal would obey: messages quote what a file or a peer says.
pub(crate) fn printable(text: &str) -> String {
    let printable = |character| match char::is_control(character) {
        true => char::REPLACEMENT_CHARACTER,
        false => character,
    };
    text.chars().map(printable).collect()
}
