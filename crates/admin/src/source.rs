//! What a metric is, and where `status` has its values.

use crate::exposition::MetricKind;

/// A metric.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) kind: MetricKind,
    pub(crate) help: &'static str,
    /// The names of its labels.
    pub(crate) labels: &'static [&'static str],
    pub(crate) from: Source,
}

/// Where its values are. A path leads through the tables of `status`.
#[derive(Debug)]
pub(crate) enum Source {
    /// A number. Without one there is no sample.
    Number(&'static [&'static str]),
    /// A number of milliseconds.
    Milliseconds(&'static [&'static str]),
    /// Whether there is something else than `null` or `false`.
    Presence(&'static [&'static str]),
    /// A table: each key is the label's value.
    Table(&'static [&'static str]),
    /// Some numbers, each with the label's value.
    Choice(&'static [(&'static str, &'static [&'static str])]),
    /// A list of tables: the label's value is at the first key, and the number at the second. Those of one label are added.
    Rows(&'static [&'static str], &'static str, &'static str),
    /// As [`Rows`](Self::Rows), in milliseconds.
    MillisecondsOfRows(&'static [&'static str], &'static str, &'static str),
    /// A list of tables: the values of two labels are at these keys, and the number at the third.
    Pairs(&'static [&'static str], [&'static str; 2], &'static str),
    /// A list of tables: the label's value is at the first key, and at the second a text that stands for a number.
    Choices(
        &'static [&'static str],
        &'static str,
        &'static str,
        &'static [(&'static str, f64)],
    ),
    /// How many tables of a list have each of these texts at this key.
    Count(
        &'static [&'static str],
        &'static str,
        &'static [&'static str],
    ),
    /// How many log2 buckets of microseconds there are, and their sum.
    Buckets(&'static [&'static str]),
    /// The version.
    Version,
    /// Peers of upstreams.
    Peers(OfPeer),
    /// How many names of each upstream are not resolved.
    Unresolved,
    /// How many peers are left out.
    Omitted,
}

/// What is measured of a peer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OfPeer {
    IsUp,
    Open,
    Connections,
    Failures,
    ConnectTime,
}

/// A metric of these.
pub(crate) const fn metric(
    name: &'static str,
    kind: MetricKind,
    labels: &'static [&'static str],
    from: Source,
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        help,
        labels,
        from,
    }
}
