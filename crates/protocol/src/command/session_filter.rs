//! Which sessions are asked for.

use serde::{Deserialize, Serialize};

use crate::control::SessionRow;

/// Which sessions are asked for: those that fit everything that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionFilter {
    /// The name of the listener.
    pub listener: Option<String>,
    /// A part of the address of the other end.
    pub peer: Option<String>,
    /// A part of the label.
    pub label: Option<String>,
    /// The slot of the worker.
    pub worker: Option<u16>,
    /// The first digits of the id.
    pub id: Option<String>,
    /// A part of one of: id, listener, peer, label, upstream.
    pub any: Option<String>,
}

impl SessionFilter {
    /// Whether a session is asked for. Upper and lower case are the same.
    pub fn fits(&self, row: &SessionRow) -> bool {
        let id = row.id.to_string();
        let upstream = row.relay.as_ref().map_or("", |relay| &relay.upstream);
        let has = |text: &str, part: &Option<String>| {
            part.as_deref().is_none_or(|part| contains(text, part))
        };
        let any = [&id, &row.listener, &row.peer, &row.label, upstream];
        self.listener.as_deref().is_none_or(|it| row.listener == it)
            && has(&row.peer, &self.peer)
            && has(&row.label, &self.label)
            && self.worker.is_none_or(|it| row.worker == Some(it))
            && self.id.as_deref().is_none_or(|part| begins(&id, part))
            && (self.any.is_none() || any.iter().any(|text| has(text, &self.any)))
    }
}

fn begins(text: &str, part: &str) -> bool {
    let start = text.as_bytes().get(..part.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(part.as_bytes()))
}

fn contains(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(&part.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::RelayRow;

    fn row() -> SessionRow {
        SessionRow {
            id: 0x0300_0000_0000_1abc.into(),
            listener: "chat".to_owned(),
            peer: "192.0.2.7:4711".to_owned(),
            label: "Zoë".to_owned(),
            worker: Some(3),
            age_s: 1,
            idle_s: 1,
            messages: 1,
            received: 1,
            sent: 1,
            queued: 1,
            relay: Some(RelayRow {
                upstream: "mysql".to_owned(),
                peer: None,
                attempts: 1,
            }),
        }
    }

    #[test]
    fn a_session_fits_if_it_fits_everything_that_is_given() {
        for (filter, expected) in [
            (r#"{}"#, true),
            (r#"{"listener": "chat"}"#, true),
            (r#"{"listener": "cha"}"#, false),
            (r#"{"peer": "2.0.2.7"}"#, true),
            (r#"{"peer": "2.0.2.8"}"#, false),
            (r#"{"label": "zOË"}"#, true),
            (r#"{"worker": 3}"#, true),
            (r#"{"worker": 2}"#, false),
            (r#"{"id": "03"}"#, true),
            (r#"{"id": "0300000000001ABC"}"#, true),
            (r#"{"id": "1abc"}"#, false),
            (r#"{"id": "0300000000001abc0"}"#, false),
            (r#"{"any": "sql"}"#, true),
            (r#"{"any": "1abc"}"#, true),
            (r#"{"any": "nobody"}"#, false),
            (r#"{"any": "sql", "worker": 2}"#, false),
        ] {
            let parsed: SessionFilter = serde_json::from_str(filter).unwrap();
            assert_eq!(parsed.fits(&row()), expected, "{filter}");
        }
    }
}
