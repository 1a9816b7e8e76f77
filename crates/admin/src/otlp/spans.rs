//! Spans made of events: reloads with the processes that they start, and dials with their steps.

use std::hash::{DefaultHasher, Hash, Hasher};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

use super::events::{Events, Noted};
use super::resource::{number, scope, text};

/// Spans of one export. The newest are kept.
const MOST_SPANS: usize = 2000;

pub(super) fn request(spans: Vec<Span>, resource: &Resource) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource.clone()),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope()),
                spans,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

/// The spans of what has ended after `from`, and not after `until`.
///
/// Their ids follow from the events, so that what is sent twice, as its first export was not answered, is the same span.
pub(super) fn ended(events: &Events, from: u64, until: u64) -> Vec<Span> {
    let mut spans = Vec::new();
    let is_new = |event: &Noted| event.at_ns > from && event.at_ns <= until;
    for (at, event) in events
        .list
        .iter()
        .enumerate()
        .filter(|(_, event)| is_new(event))
    {
        match event.kind.as_str() {
            "reload_done" | "reload_failed" => reload(events, event, &mut spans),
            "ready" => start(events, event, &mut spans),
            "dialed" => dial(events, event, &mut spans),
            "handler" => handler(events, at, &mut spans),
            _ => {}
        }
    }
    let excess = spans.len().saturating_sub(MOST_SPANS);
    spans.split_off(excess)
}

/// A reload, from its beginning to its commit or failure, with the steps in between as events.
fn reload(events: &Events, end: &Noted, spans: &mut Vec<Span>) {
    let Some(begun) = reload_begun(events, end) else {
        return;
    };
    let within = |event: &&Noted| event.at_ns >= begun.at_ns && event.at_ns <= end.at_ns;
    let is_step = |event: &&Noted| {
        matches!(
            event.kind.as_str(),
            "prepared" | "activated" | "runs" | "app_started" | "serves"
        )
    };
    let steps = events.list.iter().filter(within).filter(is_step);
    let step = |event: &Noted| Event {
        time_unix_nano: events.unix_ns(event.at_ns),
        name: event.text.clone(),
        attributes: vec![number("process.pid", event.pid)],
        ..Event::default()
    };
    let mut span = Made {
        name: "reload".to_owned(),
        trace: begun,
        own: begun,
        parent: None,
    }
    .span(events, begun.at_ns, end.at_ns);
    span.attributes
        .push(number("moorline.generation", end.number));
    span.events = steps.take(MOST_STEPS).map(step).collect();
    span.status = status(end.kind == "reload_done", "the reload has failed");
    spans.push(span);
}

/// Steps of one reload that are told.
const MOST_STEPS: usize = 128;

fn reload_begun<'a>(events: &'a Events, end: &Noted) -> Option<&'a Noted> {
    let mut earlier = events.list.iter().rev();
    earlier.find(|event| {
        event.kind == "reload_begun" && event.number == end.number && event.at_ns <= end.at_ns
    })
}

/// The start of a process, until it is ready: a part of a reload, or a trace of its own after a crash.
fn start(events: &Events, ready: &Noted, spans: &mut Vec<Span>) {
    let is_same = |event: &&Noted| {
        event.kind == "started" && event.number == ready.number && event.detail == ready.detail
    };
    let earlier = events.list.iter().rev();
    let Some(started) = earlier.filter(is_same).find(|it| it.at_ns <= ready.at_ns) else {
        return;
    };
    let mut reloads = events
        .list
        .iter()
        .rev()
        .filter(|event| event.at_ns <= started.at_ns);
    let last = reloads.find(|event| event.kind.starts_with("reload_"));
    let of_reload = last.filter(|event| event.kind == "reload_begun");
    let name = ready.text.split(" (pid").next().unwrap_or("process");
    let mut span = Made {
        name: format!("start {name}"),
        trace: of_reload.unwrap_or(started),
        own: started,
        parent: of_reload,
    }
    .span(events, started.at_ns, ready.at_ns);
    span.attributes.push(number("process.pid", ready.number));
    span.status = status(true, "");
    spans.push(span);
}

/// A dial, with its steps as children: look-ups, the attempts of the race, handshakes.
fn dial(events: &Events, dialed: &Noted, spans: &mut Vec<Span>) {
    let begun = dialed
        .at_ns
        .saturating_sub(dialed.number.saturating_mul(1000));
    let made = Made {
        name: "dial".to_owned(),
        trace: dialed,
        own: dialed,
        parent: None,
    };
    let mut span = made.span(events, begun, dialed.at_ns);
    span.kind = SpanKind::Client.into();
    span.attributes.push(number("process.pid", dialed.pid));
    span.status = outcome(dialed.detail);
    spans.push(span);
    // The numbers of dials begin again with each process, and rise in it.
    let is_step = |event: &&Noted| {
        event.kind == "dial_step"
            && event.pid == dialed.pid
            && event.session & 0xffff_ffff == dialed.session
    };
    for step in events.list.iter().filter(is_step) {
        let begun = step.at_ns.saturating_sub(step.number.saturating_mul(1000));
        let name = ["resolve", "connect", "proxy", "tls"].get((step.detail >> 8) as usize);
        let mut span = Made {
            name: (*name.unwrap_or(&"step")).to_owned(),
            trace: dialed,
            own: step,
            parent: Some(dialed),
        }
        .span(events, begun, step.at_ns);
        span.attributes.push(text("moorline.event", &step.text));
        span.status = outcome(step.detail & 0xff);
        spans.push(span);
    }
}

/// A handler that was chosen, as the event at this place says, below the span of its client if there is one.
fn handler(events: &Events, at: usize, spans: &mut Vec<Span>) {
    let ended = &events.list[at];
    let begun = ended
        .at_ns
        .saturating_sub(ended.number.saturating_mul(1000));
    let hook = ended.text.split(' ').next().unwrap_or("handler");
    let mut span = Made {
        name: hook.to_owned(),
        trace: ended,
        own: ended,
        parent: None,
    }
    .span(events, begun, ended.at_ns);
    // What belongs to it was noted by the same process just before.
    let before = events.list[..at].iter().rev();
    let mut its = before.filter(|event| event.pid == ended.pid);
    if let (Some(parent), Some(trace)) = (its.next(), its.next())
        && (parent.kind.as_str(), trace.kind.as_str()) == ("trace_parent", "trace")
    {
        span.parent_span_id = parent.number.to_be_bytes().to_vec();
        span.trace_id = [trace.session, trace.number].map(u64::to_be_bytes).concat();
    }
    span.kind = SpanKind::Server.into();
    span.attributes.push(number("process.pid", ended.pid));
    let session = format!("{:016x}", ended.session);
    span.attributes.push(text("moorline.session", &session));
    span.status = outcome(ended.detail & 0xff);
    spans.push(span);
}

/// How a dial or a step of it has ended.
fn outcome(number: u64) -> Option<Status> {
    match number {
        1 => status(true, ""),
        2 => status(false, "failed"),
        3 => status(false, "timed out"),
        // The race was won by another, or nobody wants it any more.
        _ => None,
    }
}

fn status(is_ok: bool, message: &str) -> Option<Status> {
    let (code, message) = match is_ok {
        true => (StatusCode::Ok, ""),
        false => (StatusCode::Error, message),
    };
    Some(Status {
        code: code.into(),
        message: message.to_owned(),
    })
}

/// The events that a span is made of.
struct Made<'a> {
    name: String,
    /// Which names its trace.
    trace: &'a Noted,
    own: &'a Noted,
    parent: Option<&'a Noted>,
}

impl Made<'_> {
    fn span(self, events: &Events, begun: u64, ended: u64) -> Span {
        let parent = self.parent.map(|event| hash(event, "span").to_be_bytes());
        let trace = [hash(self.trace, "trace"), hash(self.trace, "more")];
        Span {
            trace_id: trace.map(u64::to_be_bytes).concat(),
            span_id: hash(self.own, "span").to_be_bytes().to_vec(),
            parent_span_id: parent.map_or(Vec::new(), Vec::from),
            name: self.name,
            kind: SpanKind::Internal.into(),
            start_time_unix_nano: events.unix_ns(begun),
            end_time_unix_nano: events.unix_ns(ended),
            ..Span::default()
        }
    }
}

/// A number that differs for other events, and is not 0.
fn hash(event: &Noted, what: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    let Noted {
        pid,
        at_ns,
        kind,
        detail,
        session,
        number,
        ..
    } = event;
    (what, pid, at_ns, kind, detail, session, number).hash(&mut hasher);
    hasher.finish().max(1)
}
