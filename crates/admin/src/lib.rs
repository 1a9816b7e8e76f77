//! The process that serves `[admin]`: a page and metrics, over HTTP.
//!
//! It asks the supervisor what `status`, `sessions` and `upstreams` ask, over a stream of its own. It has no right to change
//! anything: it passes on what someone asks for together with the token that was shown, and the supervisor, which alone knows the
//! right one, decides. What it serves, and to how many at once, is bounded; if it fails, it alone ends, and the supervisor starts it
//! again.
//!
//! From top to bottom:
//!
//! - `web`: connections, and what a request gets; `acts`: requests that change something
//! - `otlp`: metrics and traces for a collector of OpenTelemetry
//! - `engine`: questions to the supervisor, and their answers; `stream` carries them
//! - `sessions`: a table of sessions
//! - `findings`: what is wrong; `text`: how people read it
//! - `metrics`: answers as text for Prometheus; `exposition`: that format
//! - `table`: every metric; `source`: where `status` has its values

#![forbid(unsafe_code)]

mod acts;
mod answer;
mod engine;
mod exposition;
mod findings;
mod metrics;
#[cfg(feature = "otel")]
mod otlp;
mod sessions;
mod source;
mod stream;
mod table;
pub mod text;
mod web;

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;

use moorline_config::Admin;

use engine::Engine;

pub use findings::{Finding, FindingKind, Urgency, findings};
pub use metrics::page;

/// Whether this program can send metrics and traces to a collector: the feature `otel`.
pub const CAN_EXPORT: bool = cfg!(feature = "otel");

/// Opens the listener of `[admin]`. To be called before rights are given up: its port may need them.
///
/// # Errors
/// The address cannot be listened on.
pub fn listen(admin: &Admin) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(admin.listen).map_err(|error| {
        let text = format!("[admin] cannot listen on {}: {error}", admin.listen);
        io::Error::new(error.kind(), text)
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until the supervisor is gone. `questions`: the stream on which it answers.
///
/// # Errors
/// There is no runtime, or the supervisor answers something else than what was asked.
pub fn serve(admin: &Admin, listener: TcpListener, questions: UnixStream) -> io::Result<()> {
    questions.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let questions = tokio::net::UnixStream::from_std(questions)?;
        let (engine, failed) = Engine::new(questions);
        tokio::select! {
            never = export(engine.clone(), admin) => match never {},
            never = web::accept(listener, engine, admin) => match never {},
            error = failed => Err(error.unwrap_or_else(|_| io::ErrorKind::BrokenPipe.into())),
        }
    })
}

/// Exports to the collector of the configuration, if there is one.
async fn export(engine: Engine, admin: &Admin) -> Infallible {
    #[cfg(feature = "otel")]
    if let Some(settings) = &admin.otlp {
        return otlp::export(engine, settings).await;
    }
    // A reload may bring a program that cannot, and the supervisor of one that can.
    if !CAN_EXPORT && admin.otlp.is_some() {
        eprintln!("{NO_EXPORT}");
    }
    drop(engine);
    std::future::pending().await
}

/// The line for `[admin.otlp]` in a program that cannot export.
const NO_EXPORT: &str = "[admin.otlp]: this program is built without the feature `otel`, and sends no metrics and traces to a collector";
