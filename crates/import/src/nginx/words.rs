//! Words of nginx's syntax: quotes, escapes, comments.

use std::sync::Arc;

use crate::note::{Note, Place};

/// A part of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A word, without its quotes and escapes.
    Word(String),
    /// `;`
    End,
    /// `{`
    Open,
    /// `}`
    Close,
}

/// The parts of a file, each with its line. The rules are those of nginx: a quote has a meaning only at the start of a
/// word, a `#` only there, and a `{` behind a `$` belongs to a variable.
pub(super) fn tokens(file: &Arc<str>, text: &str) -> Result<Vec<(Token, u32)>, Note> {
    let mut reader = Reader {
        file,
        letters: text.chars().peekable(),
        line: 1,
    };
    let mut tokens = Vec::new();
    while let Some(letter) = reader.next() {
        let line = reader.line;
        match letter {
            ' ' | '\t' | '\r' | '\n' | '\u{feff}' => {}
            ';' => tokens.push((Token::End, line)),
            '{' => tokens.push((Token::Open, line)),
            '}' => tokens.push((Token::Close, line)),
            '#' => while reader.next().is_some_and(|letter| letter != '\n') {},
            '"' | '\'' => tokens.push((Token::Word(reader.quoted(letter)?), line)),
            letter => tokens.push((Token::Word(reader.plain(letter)), line)),
        }
    }
    Ok(tokens)
}

struct Reader<'a> {
    file: &'a Arc<str>,
    letters: std::iter::Peekable<std::str::Chars<'a>>,
    line: u32,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let letter = self.letters.next();
        // A line is counted when its end is passed, so a token has the line that it begins in.
        if letter == Some('\n') {
            self.line += 1;
        }
        letter
    }

    fn plain(&mut self, first: char) -> String {
        let mut word = String::new();
        let mut letter = Some(first);
        while let Some(this) = letter {
            match this {
                '\\' => {
                    let escaped = self.next();
                    escape(&mut word, escaped);
                }
                other => word.push(other),
            }
            let after_dollar = this == '$';
            letter = match self.letters.peek() {
                Some('{') if after_dollar => self.next(),
                None | Some(' ' | '\t' | '\r' | '\n' | ';' | '{') => None,
                Some(_) => self.next(),
            };
        }
        word
    }

    fn quoted(&mut self, quote: char) -> Result<String, Note> {
        let begun = self.line;
        let mut word = String::new();
        loop {
            match self.next() {
                None => {
                    let message = format!("a word begins with {quote} and has no end");
                    return Err(self.note(begun, message));
                }
                Some('\\') => {
                    let escaped = self.next();
                    escape(&mut word, escaped);
                }
                Some(letter) if letter == quote => break,
                Some(letter) => word.push(letter),
            }
        }
        match self.letters.peek() {
            None | Some(' ' | '\t' | '\r' | '\n' | ';' | '{' | ')') => Ok(word),
            Some(other) => {
                let message = format!("unexpected {other:?} behind a closing {quote}");
                Err(self.note(self.line, message))
            }
        }
    }

    fn note(&self, line: u32, message: String) -> Note {
        let file = self.file.clone();
        Note {
            place: Place { file, line },
            message,
        }
    }
}

/// What stands behind a backslash. One that nothing needs stays: regular expressions have their own.
fn escape(word: &mut String, escaped: Option<char>) {
    match escaped {
        Some(quote @ ('"' | '\'' | '\\')) => word.push(quote),
        Some('t') => word.push('\t'),
        Some('r') => word.push('\r'),
        Some('n') => word.push('\n'),
        other => {
            word.push('\\');
            word.extend(other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let tokens = tokens(&"a.conf".into(), text).expect("it is right");
        let words = tokens.into_iter().map(|(token, line)| match token {
            Token::Word(word) => format!("{line}:{word}"),
            Token::End => ";".into(),
            Token::Open => "{".into(),
            Token::Close => "}".into(),
        });
        words.collect()
    }

    #[test]
    fn words_are_cut_as_nginx_cuts_them() {
        for (text, expected) in [
            ("a b;", vec!["1:a", "1:b", ";"]),
            ("a{b}", vec!["1:a", "{", "1:b}"]),
            ("a{b;}", vec!["1:a", "{", "1:b", ";", "}"]),
            ("a # b\n'c d' \"e'f\";", vec!["1:a", "2:c d", "2:e'f", ";"]),
            ("a#b c\"d e;", vec!["1:a#b", "1:c\"d", "1:e", ";"]),
            (
                r#"a "b\"c\\d\.e\n" \;f \{;"#,
                vec!["1:a", "1:b\"c\\d\\.e\n", "1:\\;f", "1:\\{", ";"],
            ),
            (
                "a ${b}c $d{e;}",
                vec!["1:a", "1:${b}c", "1:$d", "{", "1:e", ";", "}"],
            ),
            ("a\n\n'b\nc'\nd;", vec!["1:a", "3:b\nc", "5:d", ";"]),
            (
                "~^(?<a>b{2})$ c;",
                vec!["1:~^(?<a>b", "{", "1:2})$", "1:c", ";"],
            ),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn a_quote_without_its_end_and_one_within_a_word_are_errors() {
        for (text, line) in [("a\n'b", 2), ("a 'b'c;", 1)] {
            let error = tokens(&"a.conf".into(), text).expect_err("it is wrong");
            assert_eq!(error.place.line, line, "{text}");
        }
    }
}
