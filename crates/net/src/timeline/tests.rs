//! The report of a dial.

use serde_json::json;

use super::*;

/// A dial to a name: the first address was given up when the second answered.
fn dialed() -> Timeline {
    let zero = Instant::now();
    let at = |milliseconds| zero + Duration::from_millis(milliseconds);
    let mut timeline = Timeline::new(zero);
    let resolve = timeline.begin(StepKind::Resolve, Target::Name("name.test".into()), zero);
    timeline.end(resolve, Outcome::Done, None, at(3));
    let target = |text: &str| Target::Socket(text.parse().unwrap());
    let first = timeline.begin(StepKind::Connect, target("[::1]:80"), at(3));
    let second = timeline.begin(StepKind::Connect, target("127.0.0.1:80"), at(253));
    let refused = Outcome::Failed("connection refused".into());
    timeline.end(second, refused, Some(111), at(254));
    timeline.finish(Outcome::TimedOut, &Outcome::TimedOut, at(500));
    assert_eq!(
        timeline.steps()[first.0].took,
        Some(Duration::from_millis(497))
    );
    timeline
}

#[test]
fn a_timeline_is_written_as_json() {
    let step = |step: &str,
                address: &str,
                start_ms: f64,
                ms: f64,
                outcome: &str,
                errno: Option<i32>| {
        json!({
            "step": step, "address": address, "start_ms": start_ms, "ms": ms, "outcome": outcome, "errno": errno,
        })
    };
    assert_eq!(
        serde_json::to_value(dialed()).unwrap(),
        json!({
            "outcome": "timed out",
            "total_ms": 500.0,
            "steps": [
                step("resolve", "name.test", 0.0, 3.0, "ok", None),
                step("connect", "[::1]:80", 3.0, 497.0, "timed out", None),
                step("connect", "127.0.0.1:80", 253.0, 1.0, "connection refused", Some(111)),
            ],
        })
    );
}

#[test]
fn a_timeline_is_written_in_one_line() {
    assert_eq!(
        dialed().to_string(),
        "500.000 ms timed out; resolve name.test at 0.000 ms took 3.000 ms: ok; \
         connect [::1]:80 at 3.000 ms took 497.000 ms: timed out; \
         connect 127.0.0.1:80 at 253.000 ms took 1.000 ms: connection refused"
    );
}

#[test]
fn the_furthest_step_is_that_which_runs_nearest_to_the_end() {
    let now = Instant::now();
    let mut timeline = Timeline::new(now);
    assert_eq!(timeline.furthest(), None);
    let connect = timeline.begin(StepKind::Connect, Target::Unix("\0a".into()), now);
    timeline.begin(StepKind::Resolve, Target::Name("a".into()), now);
    assert_eq!(timeline.furthest(), Some(StepKind::Connect));
    timeline.end(connect, Outcome::Done, None, now);
    assert_eq!(timeline.furthest(), Some(StepKind::Resolve));
    assert_eq!(timeline.steps()[0].target.to_string(), "@a");
}
