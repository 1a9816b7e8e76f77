//! Posts that wait for room.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::super::ScriptedEngine;
use crate::app::{App, Context, Message, NoSettings, PostError, PostedBy, Result, Session};

type Outcomes = Rc<RefCell<Vec<std::result::Result<(), PostError>>>>;

/// Each post that says `pass on` is posted on to the same worker.
struct PassesOn(Outcomes);

impl App for PassesOn {
    type Settings = NoSettings;

    async fn start(_: Context, _: NoSettings) -> Result<Self> {
        Err("a test makes it".into())
    }

    async fn message(self: Rc<Self>, session: Session, message: Message) -> Result {
        let context = session.context();
        for _ in 0..str::from_utf8(&message)?.parse::<usize>()? {
            context.try_post(0, "pass on")?;
        }
        // More than there is room for.
        context.post(0, "here").await?;
        session.send("posted").await?;
        Ok(())
    }

    async fn post(self: Rc<Self>, context: Context, _: PostedBy, message: Message) -> Result {
        if *message == *b"pass on" {
            let outcome = context.post(0, "passed on").await;
            self.0.borrow_mut().push(outcome);
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn posts_that_wait_for_each_other_do_not_wait_for_ever() {
    let outcomes = Outcomes::default();
    let app = PassesOn(outcomes.clone());
    let start = async move |_: Context, _: NoSettings| Ok(app);
    let engine = ScriptedEngine::start(start, NoSettings {}).await;
    let engine = engine.expect("its start does nothing");
    let peer = engine.connect().await;
    peer.send("64").await;
    engine.advance(Duration::from_secs(4)).await;
    assert_eq!(outcomes.borrow().len(), 0, "there may be room yet");
    engine.advance(Duration::from_secs(2)).await;
    assert_eq!(outcomes.borrow().len(), 64);
    assert!(outcomes.borrow().contains(&Err(PostError::Full)));
    // The handler of the session's message, which is no post, has waited for its turn.
    assert_eq!(peer.receive_text().await, "posted");
    peer.send("63").await;
    assert_eq!(peer.receive_text().await, "posted");
    assert_eq!(outcomes.borrow().len(), 127);
}
