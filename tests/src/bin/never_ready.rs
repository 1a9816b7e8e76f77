//! A broken build: it starts and never becomes ready.

use std::future::pending;
use std::rc::Rc;

use moorline::{App, Context, Message, Result, Session};

struct NeverReady;

impl App for NeverReady {
    async fn start(self: Rc<Self>, _: Context) -> Result {
        pending().await
    }

    async fn message(self: Rc<Self>, _: Session, _: Message) -> Result {
        Ok(())
    }
}

fn main() -> std::process::ExitCode {
    moorline::run(|| NeverReady)
}
