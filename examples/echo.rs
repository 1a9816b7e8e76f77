//! The smallest app: each message goes back to its sender.
//!
//! ```text
//! cargo run --release --example echo -- serve CONFIG
//! ```

use std::process::ExitCode;
use std::rc::Rc;

use moorline::{App, Message, Result, Session};

struct Echo;

impl App for Echo {
    async fn message(self: Rc<Self>, session: Session, message: Message) -> Result {
        session.send(&message).await?;
        Ok(())
    }
}

fn main() -> ExitCode {
    moorline::run(|| Echo)
}
