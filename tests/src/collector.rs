//! A collector of OpenTelemetry.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

/// A collector that keeps all that it is sent. Its thread ends with the test's process.
pub struct TelemetryCollector {
    address: SocketAddr,
    kept: Arc<Mutex<Telemetry>>,
}

/// What a collector was sent.
#[derive(Debug, Default, Clone)]
pub struct Telemetry {
    /// How many requests came.
    pub requests: usize,
    pub resource: Option<Resource>,
    /// The newest of each.
    pub metrics: Vec<Metric>,
    /// Those of all requests, each once.
    pub spans: Vec<Span>,
}

impl TelemetryCollector {
    pub fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("a port is free"))
    }

    /// At an address that is free.
    pub fn start_at(address: SocketAddr) -> Self {
        Self::on(TcpListener::bind(address).expect("the port is free again"))
    }

    fn on(door: TcpListener) -> Self {
        let address = door.local_addr().expect("it has an address");
        let kept = Arc::new(Mutex::new(Telemetry::default()));
        let keeping = Arc::clone(&kept);
        thread::spawn(move || {
            for stream in door.incoming().flatten() {
                take(stream, &keeping);
            }
        });
        Self { address, kept }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn telemetry(&self) -> Telemetry {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clone()
    }

    /// The spans of this name.
    pub fn spans(&self, name: &str) -> Vec<Span> {
        let mut spans = self.telemetry().spans;
        spans.retain(|span| span.name == name);
        spans
    }
}

impl Telemetry {
    pub fn metric_names(&self) -> BTreeSet<String> {
        self.metrics
            .iter()
            .map(|metric| metric.name.clone())
            .collect()
    }

    fn keep(&mut self, path: &str, body: &[u8]) {
        self.requests += 1;
        match path {
            "/v1/metrics" => {
                let request = ExportMetricsServiceRequest::decode(body).expect("metrics");
                for of in request.resource_metrics {
                    self.resource = of.resource;
                    let scopes = of.scope_metrics.into_iter();
                    self.metrics = scopes.flat_map(|scope| scope.metrics).collect();
                }
            }
            "/v1/traces" => {
                let request = ExportTraceServiceRequest::decode(body).expect("traces");
                let of = request.resource_spans.into_iter();
                let spans = of.flat_map(|of| of.scope_spans).flat_map(|of| of.spans);
                for span in spans {
                    if self.spans.iter().all(|known| known.span_id != span.span_id) {
                        self.spans.push(span);
                    }
                }
            }
            other => panic!("a request for {other}"),
        }
    }
}

/// Answers one request.
fn take(stream: TcpStream, kept: &Mutex<Telemetry>) {
    let mut reading = BufReader::new(&stream);
    let mut line = String::new();
    if reading.read_line(&mut line).is_err() {
        return;
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut length = 0;
    loop {
        line.clear();
        if !matches!(reading.read_line(&mut line), Ok(1..)) || line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    if reading.read_exact(&mut body).is_err() {
        return;
    }
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    kept.keep(&path, &body);
    let _ = (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
}
