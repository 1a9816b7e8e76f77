//! The form of what one gateway sends to the next is written down, and changes only with its version.
//!
//! Nothing in the bytes says what they are: two numbers that change places, or a variant before others, would be misread by
//! the other build. So the folder `kept` has the form as text, and the state of a busy loop as bytes, for each version that
//! this build takes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::{env, fs};

use moorline_net::framing::{KeptDecoder, KeptMessageKind};
use moorline_net::watermark::Level;
use moorline_protocol::control::{Limit, Role};
use moorline_protocol::wire::{CloseReason, Peer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_reflection::{Samples, Tracer, TracerConfig};

use super::upgrade::busy;
use crate::features::tasks::Tasks;
use crate::history::KeptHistories;
use crate::main_thread::estate::KeptEstate;
use crate::processes::process::{KeptProcess, Standing};
use crate::session::link::{Interest, Link};
use crate::session::queue::kept::TakenPiece;
use crate::session::stay::{Stay, Visit};
use crate::session::{Cut, Farewell, Kind, Phase, Timer};
use crate::shared::admission::{Address, Counted};
use crate::shared::limits::LimitStatus;
use crate::stream::{KEPT_VERSION, OLDEST_KEPT};
use crate::timers::Alarm;
use crate::upgrade::ReadHead;
use crate::upgrade::take_up::{KeptSession, TakenFrame};

const REMEDY: &str = "the form of what gateways hand over has changed: raise KEPT_VERSION, read the form before it if a release \
                      has that, and write the new one with MOORLINE_WRITE_KEPT=1. If only names have changed, write it again";

fn file(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/tests/kept");
    folder.join(name)
}

/// What the file has; before that it is written, if that is asked for.
fn known(name: &str, present: &[u8]) -> Vec<u8> {
    if env::var_os("MOORLINE_WRITE_KEPT").is_some() {
        fs::write(file(name), present).expect("the folder can be written to");
    }
    fs::read(file(name)).unwrap_or_default()
}

fn look<T: DeserializeOwned>(tracer: &mut Tracer) {
    let looked = tracer.trace_type::<T>(&Samples::new());
    looked.expect("its form can be looked at");
}

/// A line for each type.
fn form() -> String {
    // None of some numbers is 0.
    let config = TracerConfig::default().default_u32_value(1);
    let mut tracer = Tracer::new(config);
    look::<KeptEstate>(&mut tracer);
    look::<KeptHistories>(&mut tracer);
    look::<ReadHead>(&mut tracer);
    look::<Tasks>(&mut tracer);
    look::<KeptProcess>(&mut tracer);
    look::<KeptSession>(&mut tracer);
    look_at_variants(&mut tracer);
    let registry = tracer.registry();
    let registry = registry.expect("all variants are looked at in `look_at_variants`");
    let lines = registry.iter().map(|(name, format)| {
        let format = serde_json::to_string(format).expect("it is text");
        format!("{name} {format}\n")
    });
    lines.collect()
}

/// A look at what has an enum shows one variant of it, and a look at the enum shows all.
fn look_at_variants(tracer: &mut Tracer) {
    look::<Address>(tracer);
    look::<Alarm>(tracer);
    look::<CloseReason>(tracer);
    look::<Counted>(tracer);
    look::<Cut>(tracer);
    look::<Farewell>(tracer);
    look::<Interest>(tracer);
    look::<Kind>(tracer);
    look::<KeptDecoder>(tracer);
    look::<KeptMessageKind>(tracer);
    look::<Level>(tracer);
    look::<Limit>(tracer);
    look::<LimitStatus>(tracer);
    look::<Link>(tracer);
    look::<Peer>(tracer);
    look::<Phase>(tracer);
    look::<Role>(tracer);
    look::<SocketAddr>(tracer);
    look::<Standing>(tracer);
    look::<Stay>(tracer);
    look::<TakenPiece>(tracer);
    look::<Timer>(tracer);
    look::<Visit>(tracer);
}

#[test]
fn the_form_of_what_is_handed_over_is_that_of_its_version() {
    let form = form();
    let known = known(&format!("form-{KEPT_VERSION}.txt"), form.as_bytes());
    let known = String::from_utf8(known).expect("it is text");
    let lines = |one: &str, other: &str| -> Vec<String> {
        let one = one
            .lines()
            .filter(|line| other.lines().all(|it| it != *line));
        one.map(str::to_owned).collect()
    };
    let (new, gone) = (lines(&form, &known), lines(&known, &form));
    assert!(form == known, "{REMEDY}\nnew: {new:#?}\ngone: {gone:#?}");
}

#[test]
fn the_state_of_a_busy_loop_of_each_version_is_read_and_written_to_the_same_bytes() {
    let (mut script, _clients) = busy();
    assert!(script.gateway.settle());
    let present = script.inheritance().bytes;
    known(&format!("loop-{KEPT_VERSION}.bytes"), &present);
    for version in OLDEST_KEPT..=KEPT_VERSION {
        let name = format!("loop-{version}.bytes");
        let known = fs::read(file(&name)).unwrap_or_default();
        assert!(!known.is_empty(), "{name} is missing: {REMEDY}");
        assert!(again(&known) == known, "{name} is another: {REMEDY}");
    }
    assert!(again(&present) == present);
}

/// Reads the state of a loop, and writes it.
fn again(bytes: &[u8]) -> Vec<u8> {
    let mut through = Through {
        rest: bytes,
        written: Vec::new(),
    };
    let head: ReadHead = through.part();
    through.part::<Tasks>();
    for _ in &head.processes {
        through.part::<KeptProcess>();
    }
    for _ in 0..head.frames {
        through.part::<TakenFrame>();
    }
    for _ in 0..head.sessions {
        through.part::<KeptSession>();
    }
    assert!(through.rest.is_empty(), "there is more: {REMEDY}");
    through.written
}

struct Through<'a> {
    rest: &'a [u8],
    written: Vec<u8>,
}

impl Through<'_> {
    fn part<T: DeserializeOwned + Serialize>(&mut self) -> T {
        let part = postcard::take_from_bytes(self.rest);
        let (part, rest): (T, _) = part.unwrap_or_else(|error| panic!("{error}: {REMEDY}"));
        self.rest = rest;
        let written = postcard::to_stdvec(&part).expect("it can be written");
        self.written.extend(written);
        part
    }
}
