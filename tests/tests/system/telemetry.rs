//! `[admin.otlp]`: metrics and traces for a collector of OpenTelemetry.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use moorline_tests::{
    Client, Engine, LENGTH_LISTENER, Site, TelemetryCollector, Wire, eventually, kill,
};
use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use super::watching::{address, ask, get};

fn config(collector: SocketAddr) -> String {
    format!(
        "{LENGTH_LISTENER}[workers]\ncount = 2\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [admin.otlp]\nendpoint = \"http://{collector}\"\ninterval = \"500ms\"\nservice = \"harbour\"\n"
    )
}

fn engine(collector: &TelemetryCollector) -> Engine {
    Engine::start("probe", &config(collector.address()))
}

/// The names that `/metrics` has numbers of.
fn shown_names(admin: SocketAddr) -> BTreeSet<String> {
    let text = get(admin, "/metrics");
    let (_, text) = text.split_once("\r\n\r\n").expect("a head");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let name = |line: &str| {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let of_histogram = ["_bucket", "_sum", "_count"];
        let whole = of_histogram.iter().find_map(|end| name.strip_suffix(end));
        whole.unwrap_or(name).to_owned()
    };
    samples.map(name).filter(|name| !name.is_empty()).collect()
}

#[test]
fn a_collector_gets_the_metrics_of_the_page() {
    let collector = TelemetryCollector::start();
    let engine = engine(&collector);
    let mut clients = [0, 1].map(|_| Client::connect(&engine, 0, Wire::LENGTH));
    for client in &mut clients {
        client.ask("pid");
    }
    let sessions = || {
        let metrics = collector.telemetry().metrics;
        let metric = metrics
            .into_iter()
            .find(|it| it.name == "moorline_sessions")?;
        let Some(Data::Gauge(gauge)) = metric.data else {
            panic!("{metric:?} is no gauge");
        };
        match gauge.data_points.first()?.value {
            Some(Value::AsDouble(number)) => Some(number),
            _ => None,
        }
    };
    eventually("two sessions are told", || sessions() == Some(2.0));
    let admin = address(&engine);
    eventually("all metrics of the page are told", || {
        collector.telemetry().metric_names() == shown_names(admin)
    });
    let telemetry = collector.telemetry();
    let resource = format!("{:?}", telemetry.resource);
    assert!(
        resource.contains("service.name") && resource.contains("harbour"),
        "{resource}"
    );
    for metric in &telemetry.metrics {
        match metric.data.as_ref().expect("it has data") {
            Data::Sum(sum) => {
                assert!(
                    metric.name.ends_with("_total") && sum.is_monotonic,
                    "{metric:?}"
                );
                let point = &sum.data_points[0];
                assert!(point.start_time_unix_nano > 0, "{metric:?}");
                assert!(
                    point.start_time_unix_nano <= point.time_unix_nano,
                    "{metric:?}"
                );
            }
            Data::Histogram(histogram) => {
                let point = &histogram.data_points[0];
                assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
                assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
            }
            _ => {}
        }
    }
}

#[test]
fn a_reload_is_a_trace_with_the_workers_that_it_starts() {
    let collector = TelemetryCollector::start();
    let engine = engine(&collector);
    engine.reload().expect_success();
    eventually("the reload and its two workers are told", || {
        let reloads = collector.spans("reload");
        let of_reload = |name: &str| {
            let starts = collector.spans(name);
            starts.iter().any(|start| {
                reloads.first().is_some_and(|reload| {
                    start.parent_span_id == reload.span_id && start.trace_id == reload.trace_id
                })
            })
        };
        of_reload("start worker 0") && of_reload("start worker 1")
    });
    let [reload] = &collector.spans("reload")[..] else {
        panic!("{:#?}", collector.spans("reload"));
    };
    assert_eq!((reload.trace_id.len(), reload.span_id.len()), (16, 8));
    assert!(reload.parent_span_id.is_empty());
    assert!(reload.start_time_unix_nano < reload.end_time_unix_nano);
    assert_eq!(
        reload.status.as_ref().map(|it| it.code),
        Some(StatusCode::Ok.into())
    );
    let steps: Vec<_> = reload.events.iter().map(|event| &event.name).collect();
    assert!(
        steps
            .iter()
            .any(|step| step.contains("generation 2 is prepared")),
        "{steps:?}"
    );
    // With the engine.
    assert!(
        !collector.spans("start gateway").is_empty(),
        "{:#?}",
        collector.telemetry().spans
    );

    // A worker that is started after a crash is a trace of its own.
    let before = collector.spans("start worker 1").len();
    kill(engine.status().worker_pids()[1], Signal::SIGKILL);
    eventually("the new worker is told", || {
        let starts = collector.spans("start worker 1");
        starts.len() > before && starts.last().is_some_and(|it| it.parent_span_id.is_empty())
    });
}

#[test]
fn dials_are_told_with_their_steps_and_how_they_went() {
    let collector = TelemetryCollector::start();
    let engine = engine(&collector);
    let open = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.ask(format!(
        "dial tcp://{}",
        open.local_addr().expect("it is bound")
    ));
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let nowhere = closed.local_addr().expect("it is bound");
    drop(closed);
    client.ask(format!("dial tcp://{nowhere}"));
    let code = |span: &Span| {
        span.status
            .as_ref()
            .map_or(StatusCode::Unset, |status| status.code())
    };
    eventually("both dials are told", || {
        let dials = collector.spans("dial");
        let codes: Vec<_> = dials.iter().map(code).collect();
        codes.contains(&StatusCode::Ok) && codes.contains(&StatusCode::Error)
    });
    for dial in collector.spans("dial") {
        let steps = collector.spans("connect");
        let step = steps
            .iter()
            .find(|step| step.parent_span_id == dial.span_id);
        let step = step.unwrap_or_else(|| panic!("{dial:?} has no steps: {steps:#?}"));
        assert_eq!((code(step), &step.trace_id), (code(&dial), &dial.trace_id));
        assert!(step.start_time_unix_nano >= dial.start_time_unix_nano.saturating_sub(1_000_000));
        assert!(step.end_time_unix_nano <= dial.end_time_unix_nano);
    }
}

/// The second listener answers requests under /app.
fn with_requests(collector: SocketAddr) -> String {
    format!(
        "{}sample_one_in = 1\n[[listen]]\naddress = \"http://127.0.0.1:0\"\nwebsocket = \"/ws\"\n\
         [[listen.route]]\npath = \"/app/*rest\"\nkind = \"app\"\n",
        config(collector)
    )
}

#[test]
fn handlers_are_told_and_requests_are_part_of_their_clients_traces() {
    let collector = TelemetryCollector::start();
    let engine = Engine::start("probe", &with_requests(collector.address()));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.ask("pid");
    let to = engine.socket_address(1);
    let traced = |flags: &str, trace: char, path: &str, more: &str| {
        let trace = String::from(trace).repeat(32);
        let head = format!(
            "GET {path} HTTP/1.1\nHost: {to}\ntraceparent: 00-{trace}-00f067aa0ba902b7-{flags}{more}"
        );
        ask(to, &head, "")
    };
    assert!(traced("01", 'a', "/app/x?do=status:204", "").contains(" 204 "));
    assert!(traced("00", 'b', "/app/x?do=status:204", "").contains(" 204 "));
    assert!(traced("zz", 'c', "/app/x?do=status:204", "").contains(" 204 "));
    eventually("both requests that are told are there", || {
        collector.spans("request").len() >= 2 && !collector.spans("message").is_empty()
    });
    let requests = collector.spans("request");
    assert_eq!(requests.len(), 2, "{requests:#?}");
    let of_client = |span: &&Span| span.trace_id == [0xaa; 16];
    let [span] = requests.iter().filter(of_client).collect::<Vec<_>>()[..] else {
        panic!("{requests:#?}");
    };
    assert_eq!(span.parent_span_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
    assert_eq!(span.span_id.len(), 8);
    // A header that is none is nobody's decision.
    let other = requests.iter().find(|span| !of_client(span));
    let other = other.expect("there are two");
    assert!(
        other.parent_span_id.is_empty() && other.trace_id != [0xcc; 16],
        "{other:?}"
    );
}

#[test]
fn a_flood_of_traced_requests_is_bounded() {
    let collector = TelemetryCollector::start();
    let engine = Engine::start("probe", &with_requests(collector.address()));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let begun = Instant::now();
    for _ in 0..2000 {
        client.ask("pid");
    }
    let seconds = begun.elapsed().as_secs() + 2;
    eventually("some are told", || !collector.spans("message").is_empty());
    let after = collector.telemetry().requests + 6;
    eventually("two more exports", || {
        collector.telemetry().requests >= after
    });
    let told = collector.spans("message").len() as u64;
    assert!(told <= 100 * seconds, "{told} in {seconds} s");
}

#[test]
fn a_collector_that_is_away_is_one_line_and_gets_the_traces_later() {
    let door = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let nowhere = door.local_addr().expect("it is bound");
    drop(door);
    let engine = Engine::start("probe", &config(nowhere));
    engine.logged(&["do not reach", &nowhere.to_string(), "refused"]);
    engine.reload().expect_success();
    let admin = address(&engine);
    // Some exports later.
    let handled = || get(admin, "/metrics").starts_with("HTTP/1.1 200 OK");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        assert!(handled());
        thread::sleep(Duration::from_millis(100));
    }
    let log = engine.log();
    let lines = log.matches("do not reach").count();
    assert!(lines <= log.matches("serves http://").count(), "{log}");
    let collector = TelemetryCollector::start_at(nowhere);
    eventually("the reload is told afterwards", || {
        !collector.spans("reload").is_empty()
    });
    engine.logged(&["again", &nowhere.to_string()]);
}

/// Listens, and treats each connection with this.
fn hostile(treat: fn(TcpStream)) -> SocketAddr {
    let door = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = door.local_addr().expect("it is bound");
    // Ends with the test's process.
    thread::spawn(move || {
        for stream in door.incoming().flatten() {
            thread::spawn(move || treat(stream));
        }
    });
    address
}

#[test]
fn a_hostile_collector_disturbs_nothing() {
    let silent: fn(TcpStream) = |mut stream| {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    };
    let endless: fn(TcpStream) = |mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream.write_all(b"X-Endless: yes\r\n").is_ok() {}
    };
    let garbage: fn(TcpStream) = |mut stream| {
        let _ = stream.write_all(&[0xff; 4096]);
    };
    let refusing: fn(TcpStream) = |mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
    };
    for (treat, reason) in [
        (silent, "no answer within"),
        (endless, ""),
        (garbage, ""),
        (refusing, "503"),
    ] {
        let engine = Engine::start("probe", &config(hostile(treat)));
        engine.logged(&["do not reach", reason]);
        let metrics = get(address(&engine), "/metrics");
        assert!(metrics.starts_with("HTTP/1.1 200 OK"), "{metrics}");
        let mut client = Client::connect(&engine, 0, Wire::LENGTH);
        client.ask("pid");
        assert_eq!(
            engine.log().matches("do not reach").count(),
            1,
            "{}",
            engine.log()
        );
    }
}

#[test]
fn an_endpoint_that_is_none_is_refused() {
    for (line, words) in [
        (
            "endpoint = \"https://127.0.0.1:4318\"",
            "does not begin with http://",
        ),
        ("endpoint = \"http://\"", "is no host with a port"),
        ("endpoint = \"http://a:0\"", "is no host with a port"),
        ("endpoint = \"http://a/?x\"", "other characters"),
        ("interval = \"1s\"", "has no `endpoint`"),
        (
            "endpoint = \"http://a\"\ninterval = \"1ms\"",
            "half a second",
        ),
        ("endpoint = \"http://a\"\nsample = 1", "sample"),
    ] {
        let text =
            format!("{LENGTH_LISTENER}[admin]\nlisten = \"127.0.0.1:0\"\n[admin.otlp]\n{line}\n");
        let site = Site::new("probe", &text);
        site.run(&["check"]).expect_refusal(&[words]);
    }
}
