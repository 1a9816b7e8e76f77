//! Names of files with `*`, `?` and `[…]`, as a shell expands them.

/// Whether a pattern means a name. Names that begin with a dot must be meant by one.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<_>, Vec<_>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut in_name) = (0, 0);
    // Where to go on after the last `*`, if it takes one letter more.
    let mut retry = None;
    loop {
        match step(&pattern[at..], name.get(in_name).copied()) {
            PatternStep::End => return true,
            PatternStep::Star => {
                retry = Some((at + 1, in_name));
                at += 1;
            }
            PatternStep::Letter(length) => {
                at += length;
                in_name += 1;
            }
            PatternStep::Other => match retry {
                Some((after, from)) if from < name.len() => {
                    retry = Some((after, from + 1));
                    (at, in_name) = (after, from + 1);
                }
                _ => return false,
            },
        }
    }
}

enum PatternStep {
    /// Both are at their end.
    End,
    Star,
    /// The letter is meant, by this number of letters of the pattern.
    Letter(usize),
    Other,
}

fn step(pattern: &[char], letter: Option<char>) -> PatternStep {
    match (pattern.first(), letter) {
        (None, None) => PatternStep::End,
        (Some('*'), _) => PatternStep::Star,
        (Some('?'), Some(_)) => PatternStep::Letter(1),
        (Some('['), Some(letter)) => match class(pattern, letter) {
            Some((true, length)) => PatternStep::Letter(length),
            Some((false, _)) => PatternStep::Other,
            None if letter == '[' => PatternStep::Letter(1),
            None => PatternStep::Other,
        },
        (Some('\\'), Some(letter)) if pattern.get(1) == Some(&letter) => PatternStep::Letter(2),
        (Some(one), Some(other)) if *one == other => PatternStep::Letter(1),
        _ => PatternStep::Other,
    }
}

/// Whether `[…]` at the start of a pattern has the letter, and its length; `None` without its end.
fn class(pattern: &[char], letter: char) -> Option<(bool, usize)> {
    let is_negated = matches!(pattern.get(1), Some('!' | '^'));
    let first = 1 + usize::from(is_negated);
    let end = pattern.iter().skip(first + 1).position(|c| *c == ']')? + first + 1;
    let (mut at, mut has) = (first, false);
    while at < end {
        if pattern.get(at + 1) == Some(&'-') && at + 2 < end {
            has |= (pattern[at]..=pattern[at + 2]).contains(&letter);
            at += 3;
        } else {
            has |= pattern[at] == letter;
            at += 1;
        }
    }
    Some((has != is_negated, end + 1))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn names_are_matched_as_a_shell_does() {
        for (pattern, name, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", ".conf", false),
            ("*.conf", "a.conf.bak", false),
            ("a*b*c", "aXbYbZc", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]", "]", true),
            ("[a", "[a", true),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
