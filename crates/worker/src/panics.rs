//! Panics of the app, in its hooks and in tasks that it has started: each is logged where it happens, with its place,
//! its stack and its session, and counted.
//!
//! A later catch of the panic logs nothing more.

use std::cell::{OnceCell, RefCell};
use std::fs::File;
use std::os::fd::AsFd;
use std::panic::PanicHookInfo;
use std::rc::{Rc, Weak};
use std::thread;

use moorline_ipc::{Scoreboard, capture_stack};

use super::core::Core;
use super::hook::panic_text;
use super::stalls::{Hook, Symbols};
use crate::control::ProcessCounter;
use crate::session_id::SessionId;

thread_local! {
    /// The core that this thread serves with.
    static CORE: RefCell<Weak<Core>> = const { RefCell::new(Weak::new()) };
    /// Names are kept: a handler that panics will do so again.
    static SYMBOLS: OnceCell<Symbols> = const { OnceCell::new() };
}

/// Reports every panic of this process from now on.
pub fn report_panics(name: String, scoreboard: Scoreboard, executable: Option<File>) {
    std::panic::set_hook(Box::new(move |panic| {
        scoreboard.add(ProcessCounter::Panics as usize, 1);
        report(&name, executable.as_ref(), panic);
    }));
}

/// A panic on this thread belongs to this core's hooks, or to a task beside them.
pub(super) fn belong_to(core: &Rc<Core>) {
    CORE.with(|place| *place.borrow_mut() = Rc::downgrade(core));
}

fn report(name: &str, executable: Option<&File>, panic: &PanicHookInfo<'_>) {
    let text = panic_text(panic.payload());
    let place = panic.location();
    let (file, line) = (place.map(|at| at.file()), place.map(|at| at.line()));
    // A hook may run inside another borrow, so this must not panic again.
    let core = CORE.try_with(|core| core.try_borrow().ok()?.upgrade());
    let core = core.ok().flatten();
    let hook = core.as_ref().and_then(|core| core.polled());
    let session = hook.and_then(|(_, session)| session);
    let listener = core
        .as_ref()
        .zip(session)
        .and_then(|(core, session)| core.listener_of(session));
    let who = match (&core, hook) {
        (Some(_), Some(_)) => "a handler",
        (Some(_), None) => "a task of the app's own",
        (None, _) => "a thread of the app's own",
    };
    let named = |symbols: &OnceCell<Symbols>| {
        let symbols = symbols.get_or_init(|| Symbols::load(executable.map(AsFd::as_fd)));
        symbols.stack(&[capture_stack()]).lines.join(" < ")
    };
    let backtrace = SYMBOLS.try_with(named).unwrap_or_default();
    let thread = thread::current();
    tracing::error!(
        worker = name,
        hook = hook.map(|(hook, _)| Hook::as_str(hook)),
        session = session.map(|id| tracing::field::display(SessionId::from(id))),
        listener,
        thread = thread.name(),
        file,
        line,
        backtrace,
        "{who} {text}"
    );
    if cfg!(panic = "abort") {
        // The thread that writes the log may not write it in time.
        eprintln!("{name}: {who} {text} ({file:?}, line {line:?}): {backtrace}");
    }
}
