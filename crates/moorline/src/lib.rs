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
//! use moorline::{App, Context, Message, NoSettings, Result, Session};
//!
//! struct Echo;
//!
//! impl App for Echo {
//!     type Settings = NoSettings;
//!
//!     async fn start(_: Context, _: NoSettings) -> Result<Self> {
//!         Ok(Echo)
//!     }
//!
//!     async fn message(self: Rc<Self>, session: Session, message: Message) -> Result {
//!         Ok(session.send(&message).await?)
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     moorline::run(Echo::start)
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

#[cfg(feature = "tools")]
mod bench;
mod cli;
#[cfg(feature = "tools")]
mod dial;
#[cfg(feature = "tools")]
mod framing;
#[cfg(feature = "testing")]
pub mod testing;

use std::path::PathBuf;
use std::process::ExitCode;

use moorline_engine::config;

pub use moorline_engine::app::*;
/// Opens connections: dialer, clients, pools. It is useful in handlers and without an engine.
#[doc(inline)]
pub use moorline_net as net;

/// Runs the command line of an app. `start` makes the app, once in each worker and task worker: [`App::start`], or any
/// async function or closure with the same arguments. A closure passes in what `main` has made:
///
/// ```no_run
/// # use std::{process::ExitCode, rc::Rc};
/// # use moorline::{App, Context, Message, NoSettings, Result, Session};
/// # struct Banner(String);
/// # impl Banner {
/// #     async fn new(_: Context, banner: String) -> Result<Self> { Ok(Self(banner)) }
/// # }
/// # impl App for Banner {
/// #     type Settings = NoSettings;
/// #     async fn start(context: Context, _: NoSettings) -> Result<Self> { Self::new(context, String::new()).await }
/// #     async fn message(self: Rc<Self>, _: Session, _: Message) -> Result { Ok(()) }
/// # }
/// fn main() -> ExitCode {
///     let banner = format!("version {}", env!("CARGO_PKG_VERSION"));
///     moorline::run(async |context, NoSettings {}| Banner::new(context, banner).await)
/// }
/// ```
///
/// Call it first in `main`, before any thread is started: most processes that run `main` are started by the supervisor for
/// a role of the engine, and take up that role here.
///
/// Exits with 1 if the command failed, with 2 if it made no sense, or if `main` is within a tokio runtime: the engine makes
/// its own, so `main` has no `#[tokio::main]`.
pub fn run<A, F>(start: F) -> ExitCode
where
    A: App,
    F: AsyncFnOnce(Context, A::Settings) -> Result<A>,
{
    builder(start).run()
}

/// [`run`] with options.
pub fn builder<A, F>(start: F) -> Builder<F>
where
    A: App,
    F: AsyncFnOnce(Context, A::Settings) -> Result<A>,
{
    Builder {
        start,
        default_config: None,
        only_lua: false,
    }
}

/// An app's command line, before it runs.
///
/// ```no_run
/// # use std::{process::ExitCode, rc::Rc};
/// # use moorline::{App, Context, Message, NoSettings, Result, Session};
/// # struct Chat;
/// # impl App for Chat {
/// #     type Settings = NoSettings;
/// #     async fn start(_: Context, _: NoSettings) -> Result<Self> { Ok(Chat) }
/// #     async fn message(self: Rc<Self>, _: Session, _: Message) -> Result { Ok(()) }
/// # }
/// fn main() -> ExitCode {
///     moorline::builder(Chat::start).default_config("chat.toml").run()
/// }
/// ```
#[derive(Debug)]
pub struct Builder<F> {
    start: F,
    default_config: Option<PathBuf>,
    only_lua: bool,
}

impl<F> Builder<F> {
    /// The configuration to use where none is named. With it, the program called without arguments serves.
    #[must_use]
    pub fn default_config(mut self, path: impl Into<PathBuf>) -> Self {
        self.default_config = Some(path.into());
        self
    }

    /// There is an app only where the configuration names a script in Lua. For the `moorline` command.
    #[doc(hidden)]
    #[must_use]
    pub fn only_lua(mut self) -> Self {
        self.only_lua = true;
        self
    }

    /// Runs the command line. See [`run`].
    pub fn run<A>(self) -> ExitCode
    where
        A: App,
        F: AsyncFnOnce(Context, A::Settings) -> Result<A>,
    {
        if tokio::runtime::Handle::try_current().is_ok() {
            return cli::refuse_runtime();
        }
        if let Some(code) = moorline_engine::role::run_if_role(self.start) {
            return code;
        }
        let app = match self.only_lua {
            true => cli::Served::OnlyLua,
            false => cli::Served::App(config::check_app::<A::Settings>),
        };
        cli::run(self.default_config, app)
    }
}

// The samples of the pages compile.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/guide/app.md")]
    struct App;
    #[doc = include_str!("../../../docs/guide/many-machines.md")]
    struct ManyMachines;
    #[doc = include_str!("../../../docs/guide/web.md")]
    struct Web;
    #[doc = include_str!("../../../docs/guide/history.md")]
    struct History;
    #[doc = include_str!("../../../docs/guide/dialing.md")]
    struct Dialing;
    #[doc = include_str!("../../../docs/guide/zltoolkit.md")]
    struct ZlToolKit;
    #[doc = include_str!("../../../docs/guide/phoenix.md")]
    struct Phoenix;
    #[doc = include_str!("../../../docs/guide/axum.md")]
    struct Axum;
    #[doc = include_str!("../../../docs/howto/deploy.md")]
    struct Deploy;
    #[doc = include_str!("../../../docs/howto/authenticate.md")]
    struct Authenticate;
    #[doc = include_str!("../../../docs/howto/rooms.md")]
    struct Rooms;
    #[doc = include_str!("../../../docs/howto/sse.md")]
    struct Sse;
    #[doc = include_str!("../../../docs/howto/tasks.md")]
    struct Tasks;
    #[doc = include_str!("../../../docs/howto/dial.md")]
    struct Dial;
    #[doc = include_str!("../../../docs/howto/pools.md")]
    struct Pools;
}
