use std::process::ExitCode;
use std::rc::Rc;

use moorline::{App, Context, Message, NoSettings, Result, Session};

struct Shout;

impl App for Shout {
    type Settings = NoSettings;

    async fn start(_: Context, _: NoSettings) -> Result<Self> {
        Ok(Shout)
    }

    async fn message(self: Rc<Self>, session: Session, message: Message) -> Result {
        Ok(session.send(message.to_ascii_uppercase()).await?)
    }
}

fn main() -> ExitCode {
    moorline::run(Shout::start)
}
