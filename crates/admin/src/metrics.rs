//! What the supervisor has said, as text for Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use moorline_proxy::{PeerSeen, State, UpstreamSeen};
use serde_json::Value;

use crate::engine::Seen;
use crate::exposition::{Exposition, Format};
use crate::source::{Metric, OfPeer, Source};
use crate::table::METRICS;

/// All metrics at one moment.
pub(crate) fn text(seen: &Seen, format: Format) -> String {
    let mut text = Exposition::new(format);
    for metric in METRICS {
        text.begin(metric.name, metric.kind, metric.help);
        match &metric.from {
            Source::Buckets(path) => buckets(metric.name, at(&seen.status, path), &mut text),
            _ => {
                for (values, number) in samples(metric, seen) {
                    let labels = metric.labels.iter().copied();
                    let labels: Vec<_> = labels.zip(values.iter().map(String::as_str)).collect();
                    text.sample(metric.name, &labels, number);
                }
            }
        }
    }
    text.end()
}

/// The values of labels, and the number that they have.
pub(crate) type Samples = Vec<(Vec<String>, f64)>;

pub(crate) fn samples(metric: &Metric, seen: &Seen) -> Samples {
    let status = &*seen.status;
    match &metric.from {
        Source::Number(path) => one(number(at(status, path))),
        Source::Milliseconds(path) => one(number(at(status, path)).map(|it| it / 1000.0)),
        Source::Presence(path) => {
            let found = at(status, path);
            let is_there = !matches!(found, Value::Null | Value::Bool(false));
            one(Some(f64::from(u8::from(is_there))))
        }
        Source::Table(path) => {
            let table = at(status, path).as_object().into_iter().flatten();
            let numbers = table.filter_map(|(key, value)| Some((key, number(value)?)));
            numbers.map(|(key, it)| (vec![key.clone()], it)).collect()
        }
        Source::Choice(choices) => {
            let numbers = choices.iter();
            let numbers =
                numbers.filter_map(|(name, path)| Some((name, number(at(status, path))?)));
            let sample = |(name, it): (&&str, f64)| (vec![(*name).to_owned()], it);
            numbers.map(sample).collect()
        }
        Source::Rows(path, label, key) => rows(at(status, path), label, key, 1.0),
        Source::MillisecondsOfRows(path, label, key) => rows(at(status, path), label, key, 0.001),
        Source::Count(path, key, texts) => {
            let list = at(status, path).as_array();
            let has = |text: &str| {
                let rows = list.into_iter().flatten();
                rows.filter(|row| row[*key] == text).count() as f64
            };
            let sample = |text: &&str| (vec![(*text).to_owned()], has(text));
            texts.iter().map(sample).collect()
        }
        Source::Version => vec![(vec![env!("CARGO_PKG_VERSION").to_owned()], 1.0)],
        Source::Peers(what) => peers(seen, *what),
        Source::Pairs(path, labels, key) => least(at(status, path), |row| {
            let values = labels.map(|label| row[label].as_str().unwrap_or_default().to_owned());
            Some((values.into(), number(&row[*key])?))
        }),
        Source::Choices(path, label, key, choices) => least(at(status, path), |row| {
            let text = row[*key].as_str()?;
            let (_, number) = choices.iter().find(|(choice, _)| *choice == text)?;
            Some((vec![row[*label].as_str()?.to_owned()], *number))
        }),
        Source::Unresolved => {
            let upstreams = seen.upstreams.list.iter();
            let sample = |it: &UpstreamSeen| (vec![it.name.clone()], it.unresolved.len() as f64);
            upstreams.map(sample).collect()
        }
        Source::Omitted => one(Some(seen.upstreams.omitted as f64)),
        Source::Buckets(_) => Vec::new(),
    }
}

fn one(number: Option<f64>) -> Samples {
    number.map(|it| (Vec::new(), it)).into_iter().collect()
}

/// A sample of each row; of rows with the same labels, which would be one series twice, the one with the least number.
fn least(rows: &Value, sample: impl Fn(&Value) -> Option<(Vec<String>, f64)>) -> Samples {
    let mut samples = BTreeMap::new();
    let rows = rows.as_array().into_iter().flatten();
    for (labels, number) in rows.filter_map(sample) {
        let least = samples.entry(labels).or_insert(number);
        *least = least.min(number);
    }
    samples.into_iter().collect()
}

/// What is at a path; `null` if there is nothing.
fn at<'a>(status: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().fold(status, |value, key| &value[*key])
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64()
}

/// The numbers of rows, added where rows have one label.
fn rows(list: &Value, label: &str, key: &str, scale: f64) -> Samples {
    let mut found: BTreeMap<String, f64> = BTreeMap::new();
    for row in list.as_array().into_iter().flatten() {
        let name = match &row[label] {
            Value::String(name) => name.clone(),
            Value::Number(name) => name.to_string(),
            _ => continue,
        };
        if let Some(number) = number(&row[key]) {
            *found.entry(name).or_default() += number * scale;
        }
    }
    let found = found.into_iter();
    found.map(|(name, number)| (vec![name], number)).collect()
}

/// A peer is known by its upstream and its address. What has no number is left out, and entries with one address are added.
fn peers(seen: &Seen, what: OfPeer) -> Samples {
    let mut found: BTreeMap<[&str; 2], f64> = BTreeMap::new();
    for upstream in &seen.upstreams.list {
        for peer in &upstream.peers {
            let Some(number) = of_peer(peer, what) else {
                continue;
            };
            let sum = found.entry([&upstream.name, &peer.address]).or_default();
            match what {
                OfPeer::IsUp | OfPeer::ConnectTime => *sum = sum.max(number),
                OfPeer::Open | OfPeer::Connections | OfPeer::Failures => *sum += number,
            }
        }
    }
    let found = found.into_iter();
    let named = |(labels, number): ([&str; 2], f64)| (labels.map(str::to_owned).into(), number);
    found.map(named).collect()
}

fn of_peer(peer: &PeerSeen, what: OfPeer) -> Option<f64> {
    match what {
        OfPeer::IsUp => Some(f64::from(u8::from(peer.state == State::Up))),
        OfPeer::Open => Some(peer.open.into()),
        OfPeer::Connections => Some(peer.connections as f64),
        OfPeer::Failures => Some(peer.failures as f64),
        OfPeer::ConnectTime => peer.connect_time.map(|time| time.as_secs_f64()),
    }
}

/// A histogram: the number of a bucket is the number of bits that its times have in microseconds.
fn buckets(name: &str, waited: &Value, text: &mut Exposition) {
    let Some(counts) = waited["buckets"].as_array() else {
        return;
    };
    let mut sum = 0;
    let mut bound = 1e-6;
    let bucket = format!("{name}_bucket");
    for count in counts.iter().take(counts.len().saturating_sub(1)) {
        sum += count.as_u64().unwrap_or(0);
        text.sample(&bucket, &[("le", &format!("{bound:.6}"))], sum as f64);
        bound *= 2.0;
    }
    sum += counts.last().and_then(Value::as_u64).unwrap_or(0);
    text.sample(&bucket, &[("le", "+Inf")], sum as f64);
    let seconds = number(&waited["sum_ns"]).unwrap_or(0.0) / 1e9;
    text.sample(&format!("{name}_sum"), &[], seconds);
    text.sample(&format!("{name}_count"), &[], sum as f64);
}

/// The counts of a histogram's buckets, and the sum of its values in seconds.
#[cfg(feature = "otel")]
pub(crate) fn distribution(metric: &Metric, seen: &Seen) -> Option<(Vec<u64>, f64)> {
    let Source::Buckets(path) = &metric.from else {
        return None;
    };
    let waited = at(&seen.status, path);
    let counts = waited["buckets"].as_array()?.iter();
    let counts = counts.map(|count| count.as_u64().unwrap_or(0)).collect();
    let seconds = number(&waited["sum_ns"]).unwrap_or(0.0) / 1e9;
    Some((counts, seconds))
}

/// The page of the reference about metrics, in Markdown.
pub fn page() -> String {
    let mut page = String::from(
        "# Metrics\n\n`/metrics` of [`[admin]`](configuration.md#admin) has them in the text formats of Prometheus and of OpenMetrics. \
         `cargo xtask docs` writes this page.\n\nCounters begin at 0 with the engine. What belongs to processes that have ended is in \
         them. Workers, task workers, helpers and loops have a series each, reasons, limits and classes too, and at most 1,000 peers.\n\n\
         | metric | kind | labels | what it is |\n| --- | --- | --- | --- |\n",
    );
    for metric in METRICS {
        let labels = metric.labels.iter().map(|label| format!("`{label}`"));
        let labels = labels.collect::<Vec<_>>().join(" ");
        let kind = metric.kind.as_str();
        // Writing to a `String` does not fail.
        let _ = writeln!(
            page,
            "| `{}` | {kind} | {labels} | {} |",
            metric.name, metric.help
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::MetricKind;

    #[test]
    fn names_are_those_that_prometheus_wants() {
        let mut names: Vec<_> = METRICS.iter().map(|it| it.name).collect();
        for metric in METRICS {
            let is_counter = metric.kind == MetricKind::Counter;
            assert_eq!(
                metric.name.ends_with("_total"),
                is_counter,
                "{}",
                metric.name
            );
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            assert!(!metric.help.contains(['\n', '\\', '|']), "{}", metric.name);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len());
    }
}
