//! Plain words: what names, comments, messages and pages do not say.

use crate::sources::{Source, sources};
use crate::steps::Failure;

/// A word that only its author understands, and what to write instead.
const WORDS: &[(&[&str], &str)] = &[
    (&["belonging", "belongings"], "session data"),
    (&["wish", "wishes"], "request"),
    (&["parcel", "parcels"], "transfer"),
    (&["untold"], "pending close"),
    (&["stranger", "strangers"], "another sender, or unknown"),
    (&["bereave", "bereaved", "bereaves"], "lost its process"),
    (&["bury", "buried", "buries"], "remove"),
    (&["deaf"], "write-closed"),
    (&["heir", "heirs"], "successor"),
    (&["premature", "prematurely"], "deferred, or too early"),
    (&["trickle", "trickles", "trickling"], "slowloris guard"),
    (&["whom", "whoever"], "the noun"),
    (&["extras"], "app state"),
];

/// The same for several words in a row.
const PHRASES: &[(&str, &str)] = &[
    ("said of", "the noun itself"),
    ("told of", "the noun itself"),
    ("hear of", "a plain verb"),
    ("hears of", "a plain verb"),
    ("heard of", "a plain verb"),
    ("go over to", "a plain verb"),
    ("goes over to", "a plain verb"),
    ("gone over to", "a plain verb"),
    ("so many", "the number's name"),
    ("at the last", "a plain adverb"),
    ("in hand", "in progress"),
    ("in its hands", "in progress"),
    ("nor does", "also not"),
    ("nor do", "also not"),
    ("nor is", "also not"),
    ("nor are", "also not"),
    ("who has", "the noun"),
    ("who is", "the noun"),
    ("how it is with", "the state of"),
];

/// What the name of a function does not begin with: it names its subject.
const BEGINNINGS: &[&str] = &["who", "whoever", "whose", "nor"];

/// A capital letter with a number is taken for the id of a planned behaviour, except for these names of the field.
const NAMES: &[&str] = &[
    "V4", "V6", "E12", "E914", "L1", "L2", "L3", "H1", "H2", "X448",
];

/// The files that are read, by the ends of their names. Those of hidden folders are among them.
const READ: &[&str] = &[
    "rs", "md", "toml", "html", "js", "css", "service", "socket", "run",
];

/// This file names them all.
const OWN: &str = "xtask/src/words.rs";

/// Fails with every place that says one of them.
pub(crate) fn are_plain() -> Result<(), Failure> {
    let files = sources(READ)?;
    let files = files.iter().filter(|file| !file.path.ends_with(OWN));
    let mut hits = Vec::new();
    for file in files {
        hits.extend(found(file));
    }
    match hits.is_empty() {
        true => Ok(()),
        false => Err(Failure(format!(
            "words that need a translator:\n{}\n{} in all",
            hits.join("\n"),
            hits.len()
        ))),
    }
}

fn found(file: &Source) -> Vec<String> {
    let lines = file.text.lines().enumerate();
    let hit = |(index, line): (usize, &str)| {
        let (said, instead) = hit(line)?;
        let path = file.path.display();
        Some(format!("{path}:{}: `{said}`: {instead}", index + 1))
    };
    lines.filter_map(hit).collect()
}

/// The first such word of a line, and what to write instead.
fn hit(line: &str) -> Option<(String, String)> {
    let known = |part: &str| {
        let part = part.to_lowercase();
        let (_, instead) = WORDS
            .iter()
            .find(|(words, _)| words.contains(&part.as_str()))?;
        Some((part, format!("write {instead}")))
    };
    let phrase = || {
        let words: Vec<String> = words(line).map(str::to_lowercase).collect();
        let line = format!(" {} ", words.join(" "));
        // In prose. A name with underscores is one word.
        let is_said = |phrase: &str| line.contains(&format!(" {phrase} "));
        let (phrase, instead) = PHRASES.iter().find(|(phrase, _)| is_said(phrase))?;
        Some(((*phrase).to_owned(), format!("write {instead}")))
    };
    let id = |word: &str| {
        let found = is_id(word) && !NAMES.contains(&word);
        found.then(|| (word.to_owned(), "say what it promises".to_owned()))
    };
    let beginning = || {
        let (first, _) = function(line)?.split_once('_')?;
        let id_of_a_row = first.to_uppercase();
        let is_id = is_id(&id_of_a_row) && !NAMES.contains(&id_of_a_row.as_str());
        let instead = match BEGINNINGS.contains(&first) {
            true => "begin with the noun",
            false if is_id => "say what it promises",
            false => return None,
        };
        Some((format!("{first}_"), instead.to_owned()))
    };
    parts(line)
        .find_map(known)
        .or_else(phrase)
        .or_else(|| words(line).find_map(id))
        .or_else(beginning)
}

/// The name of the function that begins in this line.
fn function(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("fn ")?;
    rest.split(['(', '<']).next()
}

/// The words of a line, as code and prose separate them.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// The words within names: `OtherStrangers` has two, and so has `other_strangers`.
fn parts(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphabetic()).flat_map(|word| {
        let mut starts: Vec<usize> = word
            .char_indices()
            .zip(word.chars().skip(1))
            .filter(|((_, before), after)| before.is_lowercase() && after.is_uppercase())
            .map(|((at, before), _)| at + before.len_utf8())
            .collect();
        starts.insert(0, 0);
        starts.push(word.len());
        let pieces: Vec<&str> = starts
            .windows(2)
            .map(|range| &word[range[0]..range[1]])
            .collect();
        pieces
    })
}

/// A capital letter and one to three digits.
fn is_id(word: &str) -> bool {
    let digits = word.strip_prefix(|c: char| c.is_ascii_uppercase());
    digits.is_some_and(|digits| {
        (1..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_in_prose_and_within_names() {
        let said = |line: &str| hit(line).map(|(said, _)| said);
        assert_eq!(said("// a stranger was here").as_deref(), Some("stranger"));
        assert_eq!(said("struct OtherStrangers;").as_deref(), Some("strangers"));
        assert_eq!(said("fn is_premature()").as_deref(), Some("premature"));
        assert_eq!(said("Said of a session").as_deref(), Some("said of"));
        assert_eq!(said("What the last one said"), None);
        assert_eq!(said("At the last, none").as_deref(), Some("at the last"));
        assert_eq!(
            said("their default is stranger2"),
            Some("stranger".to_owned())
        );
        assert_eq!(said("their own theirs, deafening heirloom"), None);
    }

    #[test]
    fn the_name_of_a_function_begins_with_a_noun() {
        let said = |line: &str| hit(line).map(|(said, _)| said);
        assert_eq!(said("fn who_waits_is_served() {").as_deref(), Some("who_"));
        assert_eq!(said("fn waiters_are_served_in_turn() {"), None);
        assert_eq!(said("fn who(&self) {"), None);
    }

    #[test]
    fn a_capital_letter_with_a_number_is_an_id_and_names_of_the_field_are_not() {
        let said = |line: &str| hit(line).map(|(said, _)| said);
        assert_eq!(said("/// As S12 says.").as_deref(), Some("S12"));
        assert_eq!(said("fn s12_a_session_stays()").as_deref(), Some("s12_"));
        assert_eq!(said("fn v6_is_asked_first() {"), None);
        assert_eq!(said("IpAddr::V6(ip), E0433, B2B, AES128, v4, X, 12"), None);
    }
}
