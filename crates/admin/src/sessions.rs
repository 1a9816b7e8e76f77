//! A table of sessions: which are asked for, in which order, and how many.

use std::cmp::Reverse;

use moorline_protocol::command::SessionFilter;
use moorline_protocol::control::SessionRow;
use percent_encoding::percent_decode_str;
use serde::Serialize;

/// The most rows of an answer.
const MOST_ROWS: usize = 1000;
/// Rows of an answer that does not say how many.
const ROWS: usize = 100;
/// The most characters of a part that is looked for.
const MOST_CHARACTERS: usize = 256;

/// What sessions are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SessionOrder {
    Age,
    Idle,
    Queued,
    Bytes,
    Messages,
}

impl SessionOrder {
    fn of(self, row: &SessionRow) -> u64 {
        match self {
            Self::Age => row.age_s,
            Self::Idle => row.idle_s,
            Self::Queued => row.queued,
            Self::Bytes => row.received.saturating_add(row.sent),
            Self::Messages => row.messages,
        }
    }
}

/// Which sessions are asked for, in which order, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionQuery {
    pub(crate) filter: SessionFilter,
    order: SessionOrder,
    is_rising: bool,
    rows: usize,
}

impl SessionQuery {
    /// From the query of a URL. The error says what is wrong with it.
    pub(crate) fn parse(query: &str) -> Result<Self, String> {
        let mut this = Self {
            filter: SessionFilter::default(),
            order: SessionOrder::Age,
            is_rising: false,
            rows: ROWS,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = value.replace('+', " ");
            let value = percent_decode_str(&value).decode_utf8_lossy();
            if value.chars().count() > MOST_CHARACTERS {
                return Err(format!("`{key}` has over {MOST_CHARACTERS} characters"));
            }
            if !value.is_empty() {
                this.take(key, value.into_owned())?;
            }
        }
        Ok(this)
    }

    fn take(&mut self, key: &str, value: String) -> Result<(), String> {
        let wrong = |expected: &str| format!("`{key}` is not {expected}");
        match key {
            "listener" => self.filter.listener = Some(value),
            "peer" => self.filter.peer = Some(value),
            "label" => self.filter.label = Some(value),
            "id" => self.filter.id = Some(value),
            "any" => self.filter.any = Some(value),
            "worker" => {
                let worker = value.parse().map_err(|_| wrong("the number of a worker"))?;
                self.filter.worker = Some(worker);
            }
            "sort" => {
                self.order = match &*value {
                    "age" => SessionOrder::Age,
                    "idle" => SessionOrder::Idle,
                    "queued" => SessionOrder::Queued,
                    "bytes" => SessionOrder::Bytes,
                    "messages" => SessionOrder::Messages,
                    _ => return Err(wrong("one of age, idle, queued, bytes, messages")),
                }
            }
            "order" => {
                self.is_rising = match &*value {
                    "rising" => true,
                    "falling" => false,
                    _ => return Err(wrong("one of rising, falling")),
                }
            }
            "rows" => {
                let rows = value.parse().ok();
                let rows = rows.filter(|rows| (1..=MOST_ROWS).contains(rows));
                self.rows = rows.ok_or_else(|| wrong("a number from 1 to 1000"))?;
            }
            _ => {
                return Err(
                    "there are listener, peer, label, worker, id, any, sort, order and rows"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }
}

/// The sessions that were found.
#[derive(Debug, Serialize)]
pub(crate) struct SessionsSeen {
    /// How many fit.
    found: u64,
    /// Whether all sessions were looked at.
    #[serde(rename = "complete")]
    pub(crate) is_complete: bool,
    /// The first of them.
    rows: Vec<SessionRow>,
    #[serde(skip)]
    query: SessionQuery,
}

impl SessionsSeen {
    pub(crate) fn new(query: &SessionQuery) -> Self {
        Self {
            found: 0,
            is_complete: false,
            rows: Vec::new(),
            query: query.clone(),
        }
    }

    /// Takes some more, and keeps no more of all than are asked for.
    pub(crate) fn add(&mut self, rows: Vec<SessionRow>) {
        self.found += rows.len() as u64;
        self.rows.extend(rows);
        if self.rows.len() > 2 * MOST_ROWS {
            self.keep_first();
        }
    }

    pub(crate) fn end(mut self) -> Self {
        self.keep_first();
        self
    }

    fn keep_first(&mut self) {
        let SessionQuery {
            order, is_rising, ..
        } = self.query;
        match is_rising {
            true => self.rows.sort_by_key(|row| (order.of(row), row.id)),
            false => self
                .rows
                .sort_by_key(|row| (Reverse(order.of(row)), row.id)),
        }
        self.rows.truncate(self.query.rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: u64, idle_s: u64) -> SessionRow {
        SessionRow {
            id: id.into(),
            listener: "chat".to_owned(),
            peer: "192.0.2.7:4711".to_owned(),
            label: String::new(),
            worker: None,
            age_s: 1,
            idle_s,
            messages: 1,
            received: 1,
            sent: 1,
            queued: 1,
            relay: None,
        }
    }

    #[test]
    fn a_query_is_read_and_what_is_wrong_with_one_is_told() {
        let query = SessionQuery::parse("listener=chat&peer=10.0&label=a%2bb+A&worker=3&id=03&any=x&sort=idle&order=rising&rows=1000&")
            .expect("it is right");
        let text = |it: &str| Some(it.to_owned());
        let filter = SessionFilter {
            listener: text("chat"),
            peer: text("10.0"),
            label: text("a+b A"),
            worker: Some(3),
            id: text("03"),
            any: text("x"),
        };
        assert_eq!((query.filter, query.rows), (filter, 1000));
        assert!(SessionQuery::parse("any=&worker=").is_ok(), "empty fields");
        for (query, part) in [
            ("rows=1001", "from 1 to 1000"),
            ("rows=0", "from 1 to 1000"),
            ("worker=-1", "the number of a worker"),
            ("sort=peer", "one of age"),
            ("order=up", "one of rising"),
            ("colour=red", "there are listener"),
            (&format!("any={}", "x".repeat(257)), "over 256"),
        ] {
            let wrong = SessionQuery::parse(query).expect_err(query);
            assert!(wrong.contains(part), "{query}: {wrong}");
        }
    }

    #[test]
    fn the_first_of_very_many_are_kept() {
        for (order, first, last) in [("rising", 0, 9), ("falling", 49_999, 49_990)] {
            let query = format!("sort=idle&rows=10&order={order}");
            let mut seen = SessionsSeen::new(&SessionQuery::parse(&query).expect("it is right"));
            for part in 0..500 {
                let rows = (0..100).map(|at| row(part, (at * 7919 + part * 100) % 50_000));
                seen.add(rows.collect());
                assert!(seen.rows.len() <= 2 * MOST_ROWS);
            }
            seen.add((0..50_000).map(|at| row(at, at * 7919 % 50_000)).collect());
            let seen = seen.end();
            assert_eq!((seen.found, seen.rows.len()), (100_000, 10));
            let idle: Vec<_> = seen.rows.iter().map(|row| row.idle_s).collect();
            assert_eq!(idle[0], first, "{order}");
            assert!(
                idle.iter()
                    .all(|it| it.abs_diff(first) <= first.abs_diff(last))
            );
        }
    }
}
