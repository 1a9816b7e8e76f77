//! Tests of apps, in two ways.
//!
//! [`ScriptedEngine`] runs an app's hooks in a plain `#[tokio::test]`: the test opens sessions, sends messages, reloads
//! into a second value of the app, lets it crash, and lets time pass. Nothing leaves the test's thread, so most tests of an
//! app belong here.
//!
//! [`Engine`] starts the app's program as its users do, with all its processes, on ports that are free: for what needs
//! sockets, framings or several workers.
//!
//! Both need the feature `testing`:
//!
//! ```toml
//! [dev-dependencies]
//! moorline = { version = "0.1", features = ["testing"] }
//! ```
//!
//! ```
//! # use std::rc::Rc;
//! # use moorline::{App, Context, Message, NoSettings, Result, Session};
//! # struct Echo;
//! # impl App for Echo {
//! #     type Settings = NoSettings;
//! #     async fn start(_: Context, _: NoSettings) -> Result<Self> { Ok(Echo) }
//! #     async fn message(self: Rc<Self>, session: Session, message: Message) -> Result { Ok(session.send(&message).await?) }
//! # }
//! use moorline::testing::ScriptedEngine;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result {
//! // In a #[tokio::test(start_paused = true)]:
//! let engine = ScriptedEngine::start(Echo::start, NoSettings {}).await?;
//! let peer = engine.connect().await;
//! peer.send("ahoy").await;
//! assert_eq!(peer.receive().await, b"ahoy");
//! engine.reload(Echo::start, NoSettings {}).await?;
//! peer.send("still here").await;
//! assert_eq!(peer.receive().await, b"still here");
//! engine.stop().await;
//! # Ok(())
//! # }
//! ```

mod engine;
mod status;

pub use engine::{Engine, StartError};
pub use moorline_engine::testing::{ScriptedEngine, ScriptedPeer};
pub use status::{Status, WorkerStatus};
