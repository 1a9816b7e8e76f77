//! What is logged of a dial.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use moorline_net::{DialOptions, Dialer, Timeline};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::support::{address, dialer, listener, refusal, refusing};

/// Notes the fields of this crate's events.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Subscriber for Notes {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("moorline_net")
    }

    fn event(&self, event: &Event<'_>) {
        let mut words = Words(event.metadata().level().to_string());
        event.record(&mut words);
        self.0.lock().unwrap().push(words.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

#[tokio::test]
async fn each_dial_is_logged_once_with_its_timeline() {
    let notes = Notes::default();
    let _here = tracing::subscriber::set_default(notes.clone());
    let one = |to: &str, timeline: &Timeline| {
        let noted = notes.take();
        let [line] = noted.as_slice() else {
            panic!("{noted:?}");
        };
        assert!(line.starts_with("DEBUG "), "{line}");
        assert!(line.contains(&format!(" address={to}")), "{line}");
        assert!(line.contains(&format!(" timeline={timeline}")), "{line}");
    };

    let (_listener, at) = listener().await;
    let to = format!("tcp://{at}");
    let connection = dialer().connect(&address(&to)).await.unwrap();
    one(&to, connection.timeline());

    let (_socket, at) = refusing();
    let to = format!("tcp://{at}");
    let (error, _) = refusal(&dialer(), &address(&to)).await;
    one(&to, error.timeline());

    // The proxy's password is nobody's business.
    let options =
        DialOptions::default().via(Some(format!("socks5://user:secret@{at}").parse().unwrap()));
    refusal(&Dialer::new(options), &address("tcp://name.test:1")).await;
    let noted = notes.take().concat();
    assert!(noted.contains("tcp://name.test:1"), "{noted}");
    assert!(!noted.contains("secret"), "{noted}");
}
