//! Lines that people read.

use std::sync::{Arc, PoisonError, RwLock};

use moorline_actor::ServiceId;

use crate::log_file::LogFile;
use crate::outlet;

/// Where the log goes.
#[derive(Clone)]
pub(crate) enum LogSink {
    File(Arc<LogFile>),
    /// Hands lines to a service. False if it is gone.
    Service(ServiceId, Arc<SendLine>),
}

/// Sends a line in a service's name.
type SendLine = dyn Fn(ServiceId, &[u8]) -> bool + Send + Sync;

/// Standard output, if there is none.
static SINK: RwLock<Option<LogSink>> = RwLock::new(None);

/// Has the log go elsewhere than to standard output, for the process.
pub(crate) fn log_to(sink: LogSink) {
    *SINK.write().unwrap_or_else(PoisonError::into_inner) = Some(sink);
}

/// Writes a service's line to the log, in one piece: lines of two services do not mix.
pub(crate) fn log(service: ServiceId, text: &[u8]) {
    let sink = SINK.read().unwrap_or_else(PoisonError::into_inner).clone();
    // What the log's service itself has to say does not go round in a circle.
    if let Some(LogSink::Service(logger, send)) = &sink
        && *logger != service
        && send(service, text)
    {
        return;
    }
    let mut line = format!("[{service}] ").into_bytes();
    line.extend_from_slice(text);
    match sink {
        Some(LogSink::File(file)) => file.write(&line),
        _ => print_line(line),
    }
}

/// Writes a line to standard output in one piece, soon. A reader that stops holds nobody up: then lines are lost.
pub(crate) fn print_line(mut line: Vec<u8>) {
    line.push(b'\n');
    outlet::write(&line);
}

/// What is seen of a service that does not return.
pub(crate) fn log_look(service: u32, text: &[u8]) {
    log(ServiceId::from_number(service), text);
}

/// What Lua says, without what mlua puts around it.
pub(crate) fn error_text(error: &mlua::Error) -> String {
    match error {
        mlua::Error::SyntaxError { message, .. } | mlua::Error::RuntimeError(message) => {
            message.clone()
        }
        mlua::Error::CallbackError { cause, traceback } => {
            format!("{}\n{traceback}", error_text(cause))
        }
        other => other.to_string(),
    }
}
