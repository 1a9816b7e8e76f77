//! The loop that waits for keys, signals and looks, and draws after each.

use std::io;
use std::process::ExitCode;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Instant;

use ratatui::crossterm::event::{self, Event};
use tokio::signal::unix::{SignalKind, signal};

use super::draw::Picture;
use super::feed::{Depth, Watched, look_on};
use super::history::History;
use super::panes::Pane;
use super::sample::Sample;
use super::screen::Screen;
use super::theme::Theme;

/// What the loop waits for.
enum Happening {
    Looked(Box<Result<Sample, String>>),
    Input(io::Result<Event>),
    /// A signal that ends it.
    Ended(SignalKind),
}

/// Shows the engine until a key or a signal ends it. The terminal is then as before, also after a panic.
///
/// # Errors
/// The terminal cannot be used.
pub(super) fn show(source: Watched) -> io::Result<ExitCode> {
    // In this order: a signal between them finds its listener.
    let (happenings, waiting) = mpsc::channel();
    watch_signals(happenings.clone())?;
    let mut terminal = ratatui::try_init()?;
    let (depths, wanted) = mpsc::channel();
    let looks = happenings.clone();
    thread::spawn(move || {
        look_on(source, &wanted, |look| {
            looks.send(Happening::Looked(Box::new(look))).is_ok()
        });
    });
    thread::spawn(move || read_keys(&happenings));
    let mut shown = OnScreen::new();
    let result = loop {
        if let Err(error) = terminal.draw(|frame| shown.picture().draw(frame)) {
            break Err(error);
        }
        // The threads hold senders as long as they live.
        let Ok(happening) = waiting.recv() else {
            break Ok(ExitCode::FAILURE);
        };
        match happening {
            Happening::Looked(look) => shown.take(*look),
            Happening::Input(Ok(Event::Key(key))) => {
                shown.screen.press(key);
                let depth = match shown.screen.pane {
                    Pane::Sessions => Depth::Sessions,
                    _ => Depth::Shallow,
                };
                if shown.depth != depth {
                    shown.depth = depth;
                    // It is looked at once.
                    let _ = depths.send(depth);
                }
            }
            Happening::Input(Ok(_)) => {}
            Happening::Input(Err(error)) => break Err(error),
            Happening::Ended(kind) => {
                let code = 128 + u8::try_from(kind.as_raw_value()).unwrap_or(0);
                break Ok(ExitCode::from(code));
            }
        }
        if shown.screen.is_over {
            break Ok(ExitCode::SUCCESS);
        }
    };
    // After a terminal that is gone nothing can be restored.
    let restored = ratatui::try_restore();
    result.and_then(|code| restored.map(|()| code))
}

/// Everything that is drawn.
struct OnScreen {
    began: Instant,
    sample: Option<Sample>,
    away: Option<String>,
    history: History,
    screen: Screen,
    depth: Depth,
    theme: Theme,
}

impl OnScreen {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            sample: None,
            away: None,
            history: History::default(),
            screen: Screen::default(),
            depth: Depth::Shallow,
            theme: Theme::from_environment(),
        }
    }

    /// An engine that is away leaves its last state on the screen.
    fn take(&mut self, look: Result<Sample, String>) {
        match look {
            Ok(sample) => {
                self.history.add(&sample, self.began.elapsed());
                self.sample = Some(sample);
                self.away = None;
            }
            Err(why) => self.away = Some(why),
        }
    }

    fn picture(&self) -> Picture<'_> {
        Picture {
            sample: self.sample.as_ref(),
            away: self.away.as_deref(),
            history: &self.history,
            screen: &self.screen,
            theme: self.theme,
        }
    }
}

fn read_keys(happenings: &Sender<Happening>) {
    loop {
        let read = event::read();
        let is_last = read.is_err();
        if happenings.send(Happening::Input(read)).is_err() || is_last {
            return;
        }
    }
}

/// Has the signals that end a program end the loop.
fn watch_signals(happenings: Sender<Happening>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let kinds = [
        SignalKind::terminate(),
        SignalKind::hangup(),
        SignalKind::interrupt(),
    ];
    let [mut term, mut hangup, mut interrupt] = {
        let _inside = runtime.enter();
        let [term, hangup, interrupt] = kinds.map(signal);
        [term?, hangup?, interrupt?]
    };
    thread::spawn(move || {
        runtime.block_on(async move {
            let kind = tokio::select! {
                _ = term.recv() => SignalKind::terminate(),
                _ = hangup.recv() => SignalKind::hangup(),
                _ = interrupt.recv() => SignalKind::interrupt(),
            };
            // The loop may have ended.
            let _ = happenings.send(Happening::Ended(kind));
        });
    });
    Ok(())
}
