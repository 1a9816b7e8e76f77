//! The way to the collector.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use moorline_config::Otlp;
use prost::Message;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::{error::Elapsed, timeout};

/// A collector, by its address. Each export has a connection of its own: there are few of them.
#[derive(Debug)]
pub(super) struct Collector {
    host: String,
    port: u16,
    path: String,
    patience: Duration,
}

/// How long one export may take, from the look-up of the name to the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The answer is only read to its end: a collector says there which part it has refused.
const MOST_ANSWER: usize = 64 << 10;

/// The reason for which an export did not arrive.
#[derive(Debug)]
pub(super) enum NotSent {
    /// There is no connection, or it broke.
    Io(io::Error),
    /// It answers something else than HTTP, or too much.
    Http(hyper::Error),
    /// It has refused what was sent.
    Refused(StatusCode),
    /// It has taken too long.
    TimedOut(Duration),
}

impl Collector {
    pub(super) fn new(settings: &Otlp) -> Self {
        Self {
            host: settings.host.clone(),
            port: settings.port,
            path: settings.path.clone(),
            patience: PATIENCE,
        }
    }

    /// Sends a message to the path of its signal.
    pub(super) async fn send(&self, signal: &str, message: &impl Message) -> Result<(), NotSent> {
        let body = Bytes::from(message.encode_to_vec());
        let sending = self.post(signal, body);
        timeout(self.patience, sending)
            .await
            .unwrap_or_else(|_: Elapsed| Err(NotSent::TimedOut(self.patience)))
    }

    async fn post(&self, signal: &str, body: Bytes) -> Result<(), NotSent> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = AbortOnDrop(spawn_local(async move {
            // The sender learns of a failure.
            let _ = connection.await;
        }));
        let host = match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        };
        let request = Request::post(format!("{}/{signal}", self.path))
            .header(HOST, host)
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(Full::new(body))
            .map_err(|error| io::Error::other(error.to_string()))?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        // A collector that has taken everything answers with arbitrary text: it is not read.
        let _ = Limited::new(answer.into_body(), MOST_ANSWER)
            .collect()
            .await;
        drop(connection);
        match status.is_success() {
            true => Ok(()),
            false => Err(NotSent::Refused(status)),
        }
    }
}

/// A task that ends with its owner.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Http(error) => error.fmt(f),
            Self::Refused(status) => write!(f, "the collector answers {status}"),
            Self::TimedOut(time) => write!(f, "no answer within {} s", time.as_secs()),
        }
    }
}

impl From<io::Error> for NotSent {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<hyper::Error> for NotSent {
    fn from(error: hyper::Error) -> Self {
        Self::Http(error)
    }
}
