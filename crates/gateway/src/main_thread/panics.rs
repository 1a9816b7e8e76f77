//! A panic in any thread of the gateway ends the process at once. A gateway that serves only a part of its sessions is
//! worse than a new one from the supervisor.

use std::backtrace::Backtrace;
use std::panic::{PanicHookInfo, set_hook};

use moorline_process::log;

/// From now on a panic is logged with its backtrace, and then the process aborts.
pub(crate) fn end_on_panic() {
    set_hook(Box::new(|panic| {
        report(panic);
        log::flush();
        // Not `exit`: no more code of a process that has panicked may run.
        std::process::abort();
    }));
}

fn report(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message");
    let thread = std::thread::current();
    let place = panic.location().map(ToString::to_string);
    tracing::error!(
        thread = thread.name().unwrap_or("unnamed"),
        place = place.as_deref().unwrap_or("unknown"),
        backtrace = %Backtrace::force_capture(),
        "the gateway panicked: {message}"
    );
}
