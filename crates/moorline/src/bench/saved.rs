//! A run in a file.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::SystemTime;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::BenchError;
use super::latencies::empty_histogram;
use super::machine::{LoadMachine, command};
use super::report::{Report, Run};
use super::series::{Intervals, MOST_PARTS};

/// All that is known of a run: what `--save` writes, and the pages show.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Saved {
    format: String,
    version: u64,
    /// The version of the program.
    pub(super) moorline: String,
    /// When it began, in UTC.
    pub(super) began: String,
    pub(super) command: String,
    pub(super) machine: LoadMachine,
    pub(super) results: Report,
    pub(super) intervals: Option<Intervals>,
    /// Nanoseconds, rising, and how many answers took that long.
    latency_ns: Vec<(u64, u64)>,
}

/// The name of the format.
const FORMAT: &str = "moorline-bench";

/// Rises when an older program would misread a file.
const VERSION: u64 = 1;

/// A histogram has at most some 28,000 values, each in a line of its own: 1 MiB at the most.
const LARGEST: u64 = 8 << 20;

/// More than a histogram of three digits has.
const MOST_VALUES: usize = 40_000;

/// More kinds of errors, and examples, than `bench` writes.
const MOST_ERRORS: usize = 32;

impl Saved {
    pub(super) fn new(run: Run, began: SystemTime) -> Self {
        let values = run.latency.as_ref().map(|latency| {
            let recorded = latency.iter_recorded();
            let value = recorded.map(|value| (value.value_iterated_to(), value.count_at_value()));
            value.collect()
        });
        let mut saved = Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            moorline: env!("CARGO_PKG_VERSION").to_owned(),
            began: httpdate::fmt_http_date(began),
            command: command(),
            machine: LoadMachine::here(),
            results: run.report,
            intervals: run.intervals,
            latency_ns: values.unwrap_or_default(),
        };
        saved.clean();
        saved
    }

    pub(super) fn to_json(&self) -> String {
        let text = serde_json::to_string(self);
        text.expect("names are strings and numbers are finite or null") + "\n"
    }

    /// Reads a file. Refuses one that is too large, of another format or version, or that says what no run can.
    pub(super) fn read(path: &Path) -> Result<Self, BenchError> {
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text))
            .map_err(|cause| BenchError::Read {
                file: path.to_owned(),
                cause,
            })?;
        Self::parse(&text).map_err(|reason| BenchError::Unknown {
            file: path.to_owned(),
            reason,
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.len() as u64 > LARGEST {
            return Err(format!("it is larger than {} MiB", LARGEST >> 20));
        }
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if value["format"] != FORMAT {
            return Err(match value.get("requests_per_second") {
                Some(_) => "it is what --json prints; --save writes the histogram, too".to_owned(),
                None => format!("it has no \"format\": \"{FORMAT}\""),
            });
        }
        if value["version"] != VERSION {
            return Err(format!(
                "its version is {}, and this program reads version {VERSION}",
                value["version"].as_u64().unwrap_or_default()
            ));
        }
        let mut saved: Self = serde_json::from_value(value).map_err(|error| error.to_string())?;
        saved.check()?;
        saved.clean();
        Ok(saved)
    }

    /// What no run can have said.
    fn check(&self) -> Result<(), String> {
        let rises = |pair: &[(u64, u64)]| pair[0].0 < pair[1].0;
        if self.latency_ns.len() > MOST_VALUES || !self.latency_ns.windows(2).all(rises) {
            return Err("its latencies do not rise, or are too many".to_owned());
        }
        let sum = |sum: u64, (_, count): &(u64, u64)| sum.checked_add(*count);
        if self.latency_ns.iter().try_fold(0, sum).is_none() {
            return Err("it has more answers than can be counted".to_owned());
        }
        if let Some(Intervals { length_s, parts }) = &self.intervals
            && (parts.len() > MOST_PARTS || !length_s.is_finite() || *length_s <= 0.0)
        {
            return Err("its intervals are too many, or have no length".to_owned());
        }
        let duration = self.results.duration_s;
        if !duration.is_finite() || duration < 0.0 {
            return Err("its duration is less than nothing".to_owned());
        }
        let errors = &self.results.errors;
        if errors.by_kind.len() > MOST_ERRORS || errors.examples.len() > MOST_ERRORS {
            return Err("it has too many kinds of errors".to_owned());
        }
        Ok(())
    }

    /// Takes out what would move a terminal's cursor or turn the direction of a line.
    fn clean(&mut self) {
        let results = &mut self.results;
        let texts = [
            &mut self.moorline,
            &mut self.began,
            &mut self.command,
            &mut self.machine.cpu,
            &mut self.machine.system,
            &mut results.mode,
            &mut results.target,
            &mut results.framing,
        ];
        let examples = results.errors.examples.iter_mut();
        texts.into_iter().chain(examples).for_each(clean);
        let kinds = std::mem::take(&mut results.errors.by_kind);
        let cleaned = kinds.into_iter().map(|(mut kind, count)| {
            clean(&mut kind);
            (kind, count)
        });
        results.errors.by_kind = cleaned.collect();
    }

    /// All latencies, in nanoseconds.
    pub(super) fn latency(&self) -> Histogram<u64> {
        let mut latency = empty_histogram();
        for (value, count) in &self.latency_ns {
            latency.saturating_record_n(*value, *count);
        }
        latency
    }
}

fn clean(text: &mut String) {
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    if text.contains(is_hidden) {
        *text = text.replace(is_hidden, "\u{fffd}");
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(in crate::bench) fn value() -> Value {
        json!({
            "format": "moorline-bench", "version": 1, "moorline": "0.1.0",
            "began": "Mon, 30 Nov 2026 07:50:00 GMT", "command": "moorline bench echo tcp://[::1]:1",
            "machine": { "cpu": "a chip", "cpus": 2, "memory_bytes": 4096, "system": "Linux" },
            "results": {
                "mode": "echo", "target": "tcp://[::1]:1", "framing": "length", "connections": 2, "size_bytes": 128,
                "duration_s": 0.2, "is_interrupted": false,
                "errors": { "total": 1, "by_kind": { "closed": 1 }, "examples": ["connection 1, request 4: closed"] },
                "requests": 8, "requests_per_second": 40.0, "server_cpu_us_per_request": null, "server_cpu_source": null,
                "load_cpu_us_per_request": 5.5,
                "latency_us": { "min": 1.0, "mean": 2.0, "p50": 1.0, "p90": 3.0, "p99": 4.0, "p99.9": 4.0, "max": 4.0 },
                "histogram": [{ "from_us": 1.0, "to_us": null, "count": 8 }]
            },
            "intervals": { "length_s": 0.1, "parts": [
                { "answers": 5, "errors": 0, "slowest_us": 4.0 }, { "answers": 3, "errors": 1, "slowest_us": 2.0 }] },
            "latency_ns": [[1000, 4], [3000, 3], [4000, 1]]
        })
    }

    pub(in crate::bench) fn saved(value: &Value) -> Saved {
        Saved::parse(&value.to_string()).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let saved = saved(&value());
        assert_eq!(Saved::parse(&saved.to_json()), Ok(saved.clone()));
        assert_eq!(saved.latency().len(), 8);
    }

    #[test]
    fn what_no_run_can_have_written_is_refused() {
        let refused = |path: &str, wrong: Value, reason: &str| {
            let mut value = value();
            *value.pointer_mut(path).unwrap() = wrong;
            let error = Saved::parse(&value.to_string()).unwrap_err();
            assert!(error.contains(reason), "{path}: {error}");
        };
        refused("/format", json!("other"), "\"format\"");
        refused("/version", json!(2), "its version is 2");
        refused("/version", json!("1"), "its version is 0");
        refused("/latency_ns", json!([[3, 1], [3, 1]]), "do not rise");
        refused("/latency_ns", json!([[3, u64::MAX], [4, 1]]), "counted");
        refused("/latency_ns", json!([[-3, 1]]), "invalid value");
        refused("/results/duration_s", json!(-1.0), "less than nothing");
        refused("/intervals/length_s", json!(0.0), "no length");
        let parts = vec![value()["intervals"]["parts"][0].clone(); MOST_PARTS + 1];
        refused("/intervals/parts", json!(parts), "too many");
        let values: Vec<_> = (0..=MOST_VALUES).map(|at| (at, 1)).collect();
        refused("/latency_ns", json!(values), "too many");
        assert!(Saved::parse("{").is_err());
        assert!(Saved::parse(&"[".repeat(1 << 16)).is_err());
        let large = " ".repeat(LARGEST as usize + 1);
        assert!(Saved::parse(&large).unwrap_err().contains("larger"));
        let json = r#"{"mode": "echo", "requests_per_second": 1.0}"#;
        assert!(Saved::parse(json).unwrap_err().contains("--save"));
    }

    #[test]
    fn texts_of_a_file_do_not_move_the_cursor() {
        let mut value = value();
        value["command"] = json!("a\u{1b}[2Jb\u{202e}");
        assert_eq!(saved(&value).command, "a\u{fffd}[2Jb\u{fffd}");
    }
}
