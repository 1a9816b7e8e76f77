//! A network engine whose connections outlive the code that serves them.
//!
//! An app is a type that implements [`App`]; its `main` is one line. The same program is then the
//! supervisor, the gateway that holds every connection, the workers that run the app, and the command
//! that reloads, stops and inspects them.
//!
//! ```no_run
//! use std::process::ExitCode;
//! use std::rc::Rc;
//!
//! use moorline::{App, Message, Session};
//!
//! struct Echo;
//!
//! impl App for Echo {
//!     async fn message(self: Rc<Self>, session: Session, message: Message) -> moorline::Result {
//!         session.send(&message).await?;
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     moorline::run(|| Echo)
//! }
//! ```
//!
//! With a `moorline.toml` that names a listener,
//!
//! ```toml
//! [[listen]]
//! address = "tcp://127.0.0.1:9501"
//! framing = { kind = "length" }
//! ```
//!
//! `cargo run -- serve` starts it, and after a build `cargo run -- reload` puts the new code behind the
//! connections that are open.

#![forbid(unsafe_code)]

mod bench;
mod cli;
mod dial;
mod framing;

use std::path::PathBuf;
use std::process::ExitCode;

pub use moorline_engine::app::*;
pub use moorline_engine::config;
/// Connections that are opened well: dialer, clients, pools. Of use in handlers and without an engine.
#[doc(inline)]
pub use moorline_net as net;

/// Runs the command line of an app. `factory` makes the app, once in each worker and task worker.
///
/// To be called first thing in `main`, before any thread is started: most processes that run this
/// are started by the supervisor for a role of the engine and take that up here.
///
/// Exits with 1 if what was asked for failed, with 2 if it made no sense.
pub fn run<A: App>(factory: impl FnOnce() -> A) -> ExitCode {
    builder(factory).run()
}

/// [`run`] with settings of its own.
pub fn builder<A: App, F: FnOnce() -> A>(factory: F) -> Builder<F> {
    Builder {
        factory,
        default_config: None,
        check_app: None,
        only_static: false,
    }
}

/// An app's command line, before it runs.
#[derive(Debug)]
pub struct Builder<F> {
    factory: F,
    default_config: Option<PathBuf>,
    check_app: Option<cli::CheckApp>,
    only_static: bool,
}

impl<F> Builder<F> {
    /// The configuration to use where none is named. With it, the program called without arguments serves.
    #[must_use]
    pub fn default_config(mut self, path: impl Into<PathBuf>) -> Self {
        self.default_config = Some(path.into());
        self
    }

    /// The type that the app reads `[app]` as, with [`Context::settings`]. `check` and `serve` then refuse a
    /// configuration whose `[app]` does not fit it, with file, line and column. A reload is judged by the new build,
    /// in its [`start`](App::start).
    #[must_use]
    pub fn settings<S: serde::de::DeserializeOwned>(mut self) -> Self {
        self.check_app = Some(config::check_app::<S>);
        self
    }

    /// There is no app: what only an app can answer is not served. For the `moorline` command.
    #[doc(hidden)]
    #[must_use]
    pub fn only_static(mut self) -> Self {
        self.only_static = true;
        self
    }

    /// Runs the command line. See [`run`].
    pub fn run<A: App>(self) -> ExitCode
    where
        F: FnOnce() -> A,
    {
        if let Some(code) = moorline_engine::role::run_if_role(self.factory) {
            return code;
        }
        let served = if self.only_static {
            cli::Served::StaticOnly
        } else {
            cli::Served::App
        };
        cli::run(self.default_config, self.check_app, served)
    }
}

// The samples of the pages compile.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/guide/app.md")]
    struct App;
    #[doc = include_str!("../../../docs/guide/dialing.md")]
    struct Dialing;
}
