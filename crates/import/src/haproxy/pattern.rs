//! The patterns of a test, as keys of a map.

use super::lines::Line;
use crate::network::masked;
use crate::note::{Report, Reported};
use crate::number::{MOST_PORTS, ports};

/// What patterns are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PatternKind<'a> {
    Networks,
    Numbers,
    /// In this way, unless `-m` names another one.
    Texts(&'a str),
    /// The type of a hello: 1 is a client's.
    ClientHello,
}

/// A test as it is written, with the lines of its files.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Of `-m`.
    pub(super) way: Option<String>,
    /// `-i`.
    pub(super) ignores_case: bool,
    pub(super) patterns: Vec<String>,
}

/// The keys of a map, one for each pattern. `is_lower`: the compared text is in lower case.
pub(super) fn keys(
    line: &Line,
    keys: PatternKind<'_>,
    is_lower: bool,
    written: &Written,
    report: &mut Report,
) -> Result<Vec<String>, Reported> {
    let patterns = &written.patterns;
    if written.way.as_deref() == Some("found") && patterns.is_empty() {
        return match keys {
            PatternKind::Texts(_) => Ok(vec!["~.".into()]),
            _ => Err(line.refuse(report, "has `-m found`, which is imported for names only")),
        };
    }
    if patterns.is_empty() {
        return Err(line.refuse(report, "has no pattern"));
    }
    let way = written.way.as_deref();
    let found = match keys {
        PatternKind::Networks if matches!(way, None | Some("ip")) => networks(patterns),
        PatternKind::Numbers if matches!(way, None | Some("int")) => numbers(patterns),
        PatternKind::ClientHello => match &patterns[..] {
            [one] if one == "1" => Ok(vec!["~.".into()]),
            _ => Err("asks for another hello than a client's, which has type 1".into()),
        },
        PatternKind::Texts(usual) => {
            let case = match written.ignores_case || is_lower {
                true => "~*",
                false => "~",
            };
            let texts = patterns
                .iter()
                .map(|it| text(it, way.unwrap_or(usual), case, is_lower));
            texts.collect()
        }
        _ => Err(format!("has a wrong `-m {}`", way.unwrap_or_default())),
    };
    found.map_err(|why| line.refuse(report, why))
}

fn networks(patterns: &[String]) -> Result<Vec<String>, String> {
    let network = |text: &String| {
        let why = format!("has {text:?}, which is neither an IP address nor a network");
        masked(text).ok_or(why)
    };
    patterns.iter().map(network).collect()
}

fn numbers(patterns: &[String]) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for pattern in patterns {
        let range = pattern.replace(':', "-");
        match (&**pattern, ports(&range)) {
            ("eq", _) => {}
            (_, Some(ports)) if !ports.is_empty() => found.extend(ports.map(|it| it.to_string())),
            _ => {
                return Err(format!(
                    "has {pattern:?}, and takes ports such as 443 or 8000:8010"
                ));
            }
        }
    }
    match found.len() {
        0..=MOST_PORTS => Ok(found),
        _ => Err(format!("compares with over {MOST_PORTS} ports")),
    }
}

/// A pattern of a map for a text. `case`: its beginning.
fn text(text: &str, way: &str, case: &str, is_lower: bool) -> Result<String, String> {
    if is_lower && text.chars().any(char::is_uppercase) {
        return Err(format!(
            "compares {text:?} with a name in lower case: write it in lower case"
        ));
    }
    let plain = regex::escape(text);
    Ok(match way {
        "str" => format!("{case}^{plain}$"),
        "end" => format!("{case}{plain}$"),
        "beg" => format!("{case}^{plain}"),
        "sub" => format!("{case}{plain}"),
        // Whole labels of a name.
        "dom" => {
            let labels = regex::escape(text.trim_matches('.'));
            format!("{case}(^|\\.){labels}(\\.|$)")
        }
        "reg" if regex::bytes::Regex::new(text).is_ok() => format!("{case}{text}"),
        _ => return Err(format!("has a wrong `-m {way}`")),
    })
}
