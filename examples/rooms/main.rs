//! Rooms to talk in: a login, presence, history, a mirror to read along, and news from other programs.
//!
//! ```text
//! cargo run --release --example rooms
//! curl -H "Authorization: Bearer change-this-token" -d "the pilot is aboard" "http://127.0.0.1:9503/publish/lobby?event=news"
//! ```
//!
//! Open <http://127.0.0.1:9503/>. Change something here, build again and run `reload`: the page tells what has outlived it.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use moorline::{
    Accept, App, CloseReason, Context, Group, Member, Message, Opened, Request, Response, Result,
    Session, Versioned,
};
use serde::{Deserialize, Serialize};

/// What a newcomer can read of a room.
const KEPT_EVENTS: usize = 200;
const MOST_NAME_BYTES: usize = 40;
const MOST_TEXT_CHARACTERS: usize = 2000;
/// Names in a list of those who are present.
const MOST_PRESENT: usize = 50;

struct Rooms {
    secret: String,
}

/// `[app]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Signs the cookies.
    secret: String,
}

/// In the locker of each session.
#[derive(Serialize, Deserialize)]
struct User(String);

impl Versioned for User {
    const VERSION: u32 = 1;
}

/// What a page sends, and what a room gets. A page knows its own lines by the nonce, whatever the names.
#[derive(Serialize, Deserialize)]
struct Line {
    nonce: String,
    text: String,
    #[serde(default)]
    who: String,
    /// Milliseconds since 1970.
    #[serde(default)]
    at: u128,
}

impl App for Rooms {
    type Settings = Settings;

    async fn start(_: Context, settings: Settings) -> Result<Self> {
        Ok(Rooms {
            secret: settings.secret,
        })
    }

    /// `/login`: POST a name to get a cookie, GET the name that it stands for, DELETE it.
    async fn request(self: Rc<Self>, request: Request) -> Result<Response> {
        let cookie = |value: &str, seconds: u32| {
            let secure = request.tls().map_or("", |_| "; Secure");
            let rules = format!("Max-Age={seconds}; Path=/; HttpOnly; SameSite=Strict{secure}");
            Response::new(204).header("Set-Cookie", format!("user={value}; {rules}"))
        };
        Ok(match (request.method(), self.user(&request)) {
            ("GET", Some(name)) => Response::text(name).header("Cache-Control", "no-store"),
            ("GET", None) => Response::new(401),
            ("POST", _) => match name(request.body()) {
                Some(name) => cookie(&self.signed(&name), 7 * 24 * 60 * 60),
                None => Response::new(400),
            },
            ("DELETE", _) => cookie("", 0),
            _ => Response::new(405).header("Allow", "GET, POST, DELETE"),
        })
    }

    async fn accept(self: Rc<Self>, request: Request) -> Result<Accept> {
        let Some(name) = self.user(&request) else {
            return Ok(Accept::refuse(401).body("log in first"));
        };
        let accept = Accept::new().label(name.as_str()).keep(&User(name))?;
        Ok(accept.remember(&request, &["last-event-id"]))
    }

    async fn open(self: Rc<Self>, session: Session, opened: Opened) -> Result {
        let build = session.context().generation().to_string();
        session.push_event("", "build", build)?;
        // After a reload or a crash the groups are as they were.
        let (Opened::Fresh, Some((room, crowd))) = (opened, groups(&session)) else {
            return Ok(());
        };
        let request = session.request();
        let last_id = request.and_then(|it| it.last_event_id());
        room.keep_events(KEPT_EVENTS)?;
        room.join_after(&session, last_id.unwrap_or_default())?;
        crowd.join(&session)?;
        tell_who_is_present(&crowd).await
    }

    async fn message(self: Rc<Self>, session: Session, message: Message) -> Result {
        let (Some((room, _)), Some(User(who))) = (groups(&session), session.load()?) else {
            return Ok(());
        };
        let mut line: Line = serde_json::from_slice(&message)?;
        let characters = line.text.trim().chars();
        line.text = characters.take(MOST_TEXT_CHARACTERS).collect();
        line.who = who;
        line.at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let said = serde_json::to_string(&line)?;
        Ok(room.send_event("", "said", said).await?)
    }

    async fn close(self: Rc<Self>, session: Session, _: CloseReason) -> Result {
        match groups(&session) {
            Some((_, crowd)) => tell_who_is_present(&crowd).await,
            None => Ok(()),
        }
    }
}

impl Rooms {
    /// A name and the proof that this app has seen it. A real app uses an HMAC here, or a random token that its database knows.
    fn signed(&self, name: &str) -> String {
        let mut hasher = DefaultHasher::new();
        (&self.secret, name, &self.secret).hash(&mut hasher);
        let bytes: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
        format!("{bytes}.{:016x}", hasher.finish())
    }

    fn user(&self, request: &Request) -> Option<String> {
        let cookie = request.cookie("user")?;
        let (digits, _) = cookie.split_once('.')?;
        let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
        let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
        let name = name(&bytes?)?;
        (self.signed(&name) == cookie).then_some(name)
    }
}

fn name(bytes: &[u8]) -> Option<String> {
    let name = str::from_utf8(bytes).ok()?.trim();
    let is_one = (1..=MOST_NAME_BYTES).contains(&name.len()) && !name.contains(char::is_control);
    is_one.then(|| name.to_owned())
}

/// The room that the path names, `/rooms/:room`, and the same sessions again: who comes and goes is not kept.
fn groups(session: &Session) -> Option<(Group, Group)> {
    let request = session.request()?;
    let (context, room) = (session.context(), request.parameter("room")?);
    Some((context.group(room), context.group(format!("{room}/crowd"))))
}

/// Until nothing has changed meanwhile, so that the last one who tells it is right.
async fn tell_who_is_present(crowd: &Group) -> Result {
    let mut told = None;
    loop {
        let name = |it: Member| String::from_utf8_lossy(&it.label).into_owned();
        let names: BTreeSet<_> = crowd.members().await?.into_iter().map(name).collect();
        if told.as_ref() == Some(&names) {
            return Ok(());
        }
        let some: Vec<_> = names.iter().take(MOST_PRESENT).collect();
        let some = serde_json::to_string(&some)?;
        crowd.send_event("", "present", some).await?;
        told = Some(names);
    }
}

fn main() -> ExitCode {
    const FROM_THE_ROOT: &str = "examples/rooms/moorline.toml";
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/rooms/moorline.toml");
    let config = if Path::new(FROM_THE_ROOT).exists() {
        FROM_THE_ROOT
    } else {
        own
    };
    moorline::builder(Rooms::start).default_config(config).run()
}
