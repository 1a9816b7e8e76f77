//! `moorline demo`: an engine to play with, and visitors that stay connected whatever is done to it.
//!
//! This process starts an engine from files of its own, connects to it as some dozens of visitors, and serves a page with buttons.
//! It knows of the engine what any user can know: its control socket, its processes' numbers, its output.
//!
//! From top to bottom:
//!
//! - `page`: the page, and what its buttons do: `acts`
//! - `watch`: looks at the engine, and tells what has changed
//! - `visitors`: all of them; `visitor`: one; `flood`: one that sends too much
//! - `counts`: what they count together; `ledger`: what one has heard, in order or not
//! - `engine`: the process, and questions to it; `site`: its files
//! - `events`: what has happened

#![forbid(unsafe_code)]

mod acts;
mod counts;
mod engine;
mod events;
mod flood;
mod ledger;
mod page;
mod site;
mod visitor;
mod visitors;
mod watch;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use engine::Engine;
use events::Events;
use page::Play;
use site::Site;
use visitors::Visitors;

/// Runs the demo until it is interrupted. Nothing of it is left then: no process, no file. `program`: the `moorline` command, which
/// serves what its arguments name.
///
/// # Errors
/// The engine does not start, or ends by itself.
pub fn run(program: &Path, visitors: u16) -> Result<(), DemoError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, play(program, visitors))
}

async fn play(program: &Path, count: u16) -> Result<(), DemoError> {
    // Before anything is started that must be ended.
    let mut interrupts = [
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::hangup())?,
    ];
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let site = Arc::new(Site::new(address)?);
    let mut engine = Engine::spawn(program, &site)?;
    let doors = tokio::select! {
        doors = engine.serves(&site) => doors.map(Some),
        () = interrupted(&mut interrupts) => Ok(None),
    };
    let doors = match doors {
        Ok(Some(doors)) => doors,
        other => {
            engine.stop().await;
            return other.map(drop);
        }
    };
    let events = Arc::new(Events::default());
    let visitors = Arc::new(Visitors::start(doors.visitors, count));
    let play = Play {
        doors,
        site: Arc::clone(&site),
        visitors: Arc::clone(&visitors),
        state: watch::start(&site, &events),
        events,
    };
    println!("play:  http://{address}/");
    println!(
        "watch: http://{}/  (its token: {})",
        play.doors.admin,
        site.token()
    );
    println!("Ctrl-C ends it, and removes what it has made.");
    let ended = tokio::select! {
        never = page::serve(listener, Rc::new(play)) => match never? {},
        text = engine.ended() => Err(DemoError::Ended(text)),
        () = interrupted(&mut interrupts) => Ok(()),
    };
    visitors.leave();
    engine.stop().await;
    ended
}

/// Waits for one of these signals.
async fn interrupted([first, second, third]: &mut [Signal; 3]) {
    tokio::select! {
        _ = first.recv() => {}
        _ = second.recv() => {}
        _ = third.recv() => {}
    }
}

/// Why a demo ends.
#[derive(Debug)]
#[non_exhaustive]
pub enum DemoError {
    /// Something of this machine has failed.
    Io(io::Error),
    /// The engine has ended by itself; its last lines.
    Ended(String),
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Ended(lines) => write!(f, "the engine has ended: {lines}"),
        }
    }
}

impl std::error::Error for DemoError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Ended(_) => None,
        }
    }
}

impl From<io::Error> for DemoError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
