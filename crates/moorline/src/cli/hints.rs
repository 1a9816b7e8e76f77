//! What to do about a message, for people who meet it first.

use std::io;

use moorline_engine::command::CommandError;

use super::Failure;

/// A command about an engine that was not answered as it should be.
pub(super) fn unanswered(error: CommandError) -> Failure {
    let hint = match &error {
        CommandError::NotRunning { .. } => {
            "start it with `serve`, or name the configuration or the --run-dir that it was started with"
        }
        CommandError::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            "run the command as the user that started it, or as root"
        }
        _ => return Failure::failed(error),
    };
    Failure::failed(format_args!("{error}\n  hint: {hint}"))
}

/// A reload that was refused.
pub(super) fn not_reloaded(reason: &str) -> Failure {
    let hint = if reason.contains("cannot open the executable") {
        "\n  hint: put the new program at this path, then reload again"
    } else if reason.ends_with(" before it was ready") {
        "\n  hint: the engine's log has what it printed. It must be a program for this machine whose `main` calls `moorline::run` first"
    } else {
        ""
    };
    Failure::failed(format_args!(
        "not reloaded, what served before goes on serving: {reason}{hint}"
    ))
}

/// An upgrade that was refused.
pub(super) fn not_upgraded(reason: &str) -> Failure {
    Failure::failed(format_args!(
        "not upgraded, the gateway goes on as before: {reason}"
    ))
}

/// The command that a word of other programs means, if it is none here.
pub(super) fn meant(word: &str) -> Option<&'static str> {
    Some(match word {
        "start" | "up" | "server" => "serve",
        "restart" | "deploy" => "reload",
        "quit" | "kill" | "down" | "shutdown" => "stop",
        "test" | "configtest" | "validate" => "check",
        "ps" | "info" | "state" => "status",
        "list" | "ls" | "clients" | "connections" => "sessions",
        #[cfg(feature = "tools")]
        "connect" | "telnet" | "nc" => "dial",
        _ => return None,
    })
}
