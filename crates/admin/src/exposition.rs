//! The text formats of Prometheus (0.0.4) and OpenMetrics (1.0.0).

use std::fmt::Write as _;

use hyper::header::HeaderValue;

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus' own, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The one for a request with this `Accept`.
    pub(crate) fn accepted(accept: Option<&HeaderValue>) -> Self {
        let accept = accept.and_then(|it| it.to_str().ok()).unwrap_or_default();
        match accept.contains("application/openmetrics-text") {
            true => Self::OpenMetrics,
            false => Self::Prometheus,
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MetricKind {
    /// It only rises, and begins at 0 with the engine.
    Counter,
    /// An amount at this moment.
    Gauge,
    /// How often values up to each bound have occurred.
    Histogram,
}

impl MetricKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A text that grows.
#[derive(Debug)]
pub(crate) struct Exposition {
    format: Format,
    text: String,
}

impl Exposition {
    pub(crate) fn new(format: Format) -> Self {
        let text = String::with_capacity(16 << 10);
        Self { format, text }
    }

    /// Begins a metric. The name of a counter ends in `_total`.
    pub(crate) fn begin(&mut self, name: &str, kind: MetricKind, help: &str) {
        let family = match (self.format, kind) {
            (Format::OpenMetrics, MetricKind::Counter) => {
                name.strip_suffix("_total").unwrap_or(name)
            }
            _ => name,
        };
        let kind = kind.as_str();
        // Writing to a `String` does not fail.
        let _ = writeln!(self.text, "# HELP {family} {help}\n# TYPE {family} {kind}");
    }

    /// A sample. `labels`: names and values.
    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{label}=\"");
            for c in text.chars() {
                match c {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    pub(crate) fn end(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_counters_are_named_as_each_format_wants() {
        for (format, family, last) in [
            (Format::Prometheus, "a_total", ""),
            (Format::OpenMetrics, "a", "# EOF\n"),
        ] {
            let mut text = Exposition::new(format);
            text.begin("a_total", MetricKind::Counter, "Some.");
            text.sample("a_total", &[("b", "x\\y\"z\n"), ("c", "d")], 7.0);
            text.sample("a_total", &[], 0.25);
            let expected = format!(
                "# HELP {family} Some.\n# TYPE {family} counter\na_total{{b=\"x\\\\y\\\"z\\n\",c=\"d\"}} 7\na_total 0.25\n{last}"
            );
            assert_eq!(text.end(), expected);
        }
    }
}
