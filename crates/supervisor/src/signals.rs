//! Signals to the supervisor.

use std::io::{self, IsTerminal};

use nix::libc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::input::Input;
use super::plan::Event;
use moorline_protocol::command::Scope;

/// Listens to every signal with a meaning, for as long as the receiver exists.
pub(super) fn listen(inputs: &mpsc::Sender<Input>) -> io::Result<()> {
    let reload: fn() -> Input = || {
        Input::Event(Event::ReloadAsked {
            caller: None,
            scope: Scope::All,
        })
    };
    let stop: fn() -> Input = || Input::Event(Event::StopAsked);
    // A terminal that is closed ends the engine, as it ends any foreground command.
    let hangup = if io::stdin().is_terminal() {
        stop
    } else {
        reload
    };
    let meanings: [(SignalKind, fn() -> Input); 6] = [
        (SignalKind::terminate(), stop),
        (SignalKind::interrupt(), stop),
        (SignalKind::hangup(), hangup),
        (SignalKind::user_defined1(), reload),
        (SignalKind::user_defined2(), || {
            Input::Event(Event::ReloadAsked {
                caller: None,
                scope: Scope::Tasks,
            })
        }),
        (SignalKind::from_raw(libc::SIGRTMIN()), || Input::ReopenLog),
    ];
    // A write over the limit of the size of files fails; that is no reason to end.
    let _ = signal(SignalKind::from_raw(libc::SIGXFSZ))?;
    for (kind, meaning) in meanings {
        tokio::task::spawn_local(forward(signal(kind)?, meaning, inputs.clone()));
    }
    Ok(())
}

async fn forward(mut signal: Signal, meaning: fn() -> Input, inputs: mpsc::Sender<Input>) {
    while signal.recv().await.is_some() {
        if inputs.send(meaning()).await.is_err() {
            return;
        }
    }
}
