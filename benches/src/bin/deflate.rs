//! What compressed WebSocket messages cost.
//!
//! `deflate compare ROUNDS [PROGRAM]` starts this program as an engine that echoes, and PROGRAM, which is run as `PROGRAM PORT
//! shared` (no context takeover) or `PROGRAM PORT dedicated` (a context for each session and direction) and does the same.
//! Without PROGRAM the other is the engine without compression. 64 sessions send texts like JSON, which are compressed before.

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use moorline::{App, Context, Message, NoSettings, Session};

use moorline_benches::Result;
use moorline_benches::figures::{Figures, print};
use moorline_benches::load::{Client, run, turn};
use moorline_benches::server::{Measured, be_the_load};
use moorline_benches::websocket::{COMPRESSED, TEXT, WebSocket, masked};

const SESSIONS: usize = 64;
const TURN: Duration = Duration::from_millis(1200);
/// Idle sessions whose memory is measured, beside those that came before so that what is made once is there.
const IDLE: usize = 1000;
const IDLE_BEFORE: usize = 100;
/// How long they rest: longer than the engine's interval of pings here.
const RESTING: Duration = Duration::from_millis(2500);
/// Different messages of each size have this many bytes: four windows, so that none is found again in one.
const CONTENT_BYTES: usize = 128 << 10;
/// What ends a compressed block, and is left out (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// A way to compress: its name, the engine's settings, and the word that the other program gets.
struct Way {
    name: &'static str,
    settings: &'static str,
    word: &'static str,
    offer: &'static str,
}

const NO_CONTEXT: &str = "permessage-deflate; client_no_context_takeover";
const CONTEXT: &str = "permessage-deflate";

const WAYS: [Way; 3] = [
    Way {
        name: "no context, level 1",
        settings: "{}",
        word: "shared",
        offer: NO_CONTEXT,
    },
    // uWebSockets has this level, always.
    Way {
        name: "no context, level 6",
        settings: "{ level = 6 }",
        word: "shared",
        offer: NO_CONTEXT,
    },
    Way {
        name: "contexts, level 1",
        settings: "{ server_context_takeover = true, client_context_takeover = true, memory = \"2GiB\" }",
        word: "dedicated",
        offer: CONTEXT,
    },
];
const SIZES: [(usize, &str); 2] = [(1 << 10, "1 KiB"), (16 << 10, "16 KiB")];

struct Echo;

impl App for Echo {
    type Settings = NoSettings;

    async fn start(_: Context, _: NoSettings) -> moorline::Result<Self> {
        Ok(Echo)
    }

    async fn message(self: Rc<Self>, session: Session, message: Message) -> moorline::Result {
        let text = std::str::from_utf8(&message)?;
        Ok(session.send_text(text).await?)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let ["compare", rounds, program @ ..] = &*arguments[1..]
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
    else {
        return moorline::run(Echo::start);
    };
    match compare(rounds, program.first().copied()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(rounds: &str, program: Option<&str>) -> Result {
    let rounds: usize = rounds.parse()?;
    be_the_load()?;
    let mut all = Vec::new();
    for way in WAYS {
        let settings = way.settings;
        let listener = |compression: &str| {
            format!(
                "websocket = \"/\"\nmax_message = \"2MiB\"\nping_interval = \"1s\"\n{compression}\n"
            )
        };
        let compressing = listener(&format!("compression = {settings}"));
        let other = || match program {
            Some(program) => Measured::program(program, way.word),
            None => Measured::engine(&listener("")),
        };
        let mut peers = [
            Peer::new(Measured::engine(&compressing)?, way.offer),
            Peer::new(other()?, way.offer),
        ];
        peers[1].must_compress = program.is_some();
        for (size, name) in SIZES {
            let what = format!("deflate, {name}, {}", way.name);
            all.extend(run(echo(&peers, size, &what, rounds))?);
        }
        let what = format!("an idle session, deflate, {}", way.name);
        let mut figures = Figures::new(what, "private bytes");
        let [engine, other] = &peers;
        figures.push(run(engine.idle())?, run(other.idle())?);
        all.push(figures);
    }
    print(&all);
    Ok(())
}

/// CPU time of a message, and the bytes of an answer.
async fn echo(peers: &[Peer; 2], size: usize, what: &str, rounds: usize) -> Result<[Figures; 2]> {
    let mut cpu = Figures::new(what, "CPU µs / request");
    let mut bytes = Figures::new(what, "answer bytes");
    let texts = Rc::new(Texts::new(size)?);
    for round in 1..=rounds {
        eprintln!("{what}, round {round}");
        let [engine, other] = peers;
        let (engine, other) = (engine.echo(&texts).await?, other.echo(&texts).await?);
        cpu.push(engine.0, other.0);
        bytes.push(engine.1, other.1);
    }
    Ok([cpu, bytes])
}

/// A server, and how its clients speak.
struct Peer {
    server: Measured,
    offer: &'static str,
    must_compress: bool,
}

impl Peer {
    fn new(server: Measured, offer: &'static str) -> Self {
        Self {
            server,
            offer,
            must_compress: true,
        }
    }

    /// A turn of all sessions: CPU time of a message, and bytes of an answer.
    async fn echo(&self, texts: &Rc<Texts>) -> Result<(f64, f64)> {
        let (answers, bytes) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let mut talkers = Vec::new();
        for at in 0..SESSIONS {
            let mut talker = self.talker(texts, at).await?;
            (talker.answers, talker.bytes) = (answers.clone(), bytes.clone());
            talkers.push(talker);
        }
        let turn = turn(&self.server, talkers, TURN).await?;
        Ok((turn.cpu_us, bytes.get() as f64 / f64::from(answers.get())))
    }

    async fn talker(&self, texts: &Rc<Texts>, at: usize) -> Result<Talker> {
        let fields = format!("Sec-WebSocket-Extensions: {}\r\n", self.offer);
        let (socket, head) = WebSocket::open(self.server.address, "/", &fields).await?;
        let head = head.to_ascii_lowercase();
        let compresses = head.contains("permessage-deflate");
        if compresses != self.must_compress {
            return Err(format!("about compression: {head}").into());
        }
        Ok(Talker {
            socket,
            compresses,
            forgets: head.contains("server_no_context_takeover"),
            inflater: Decompress::new(false),
            texts: texts.clone(),
            at,
            plain: Vec::new(),
            answers: Rc::default(),
            bytes: Rc::default(),
        })
    }

    /// Bytes for each of many sessions that have sent one message.
    async fn idle(&self) -> Result<f64> {
        let texts = Rc::new(Texts::new(1 << 10)?);
        let mut talkers = Vec::new();
        let mut before = 0;
        for at in 0..IDLE_BEFORE + IDLE {
            if at == IDLE_BEFORE {
                before = self.server.private_memory()?;
            }
            let mut talker = self.talker(&texts, at).await?;
            talker.exchange().await?;
            talkers.push(talker);
        }
        tokio::time::sleep(RESTING).await;
        let more = self.server.private_memory()? as f64 - before as f64;
        Ok(more / IDLE as f64)
    }
}

/// A session that sends one text after the other and inflates the answers.
struct Talker {
    socket: WebSocket,
    compresses: bool,
    /// The server's messages refer to no earlier ones.
    forgets: bool,
    inflater: Decompress,
    texts: Rc<Texts>,
    at: usize,
    plain: Vec<u8>,
    answers: Rc<Cell<u32>>,
    bytes: Rc<Cell<usize>>,
}

impl Client for Talker {
    async fn exchange(&mut self) -> Result {
        let texts = self.texts.clone();
        let text = &texts.0[self.at % texts.0.len()];
        self.at += 1;
        let frame = if self.compresses {
            &text.deflated
        } else {
            &text.frame
        };
        self.socket.send(frame).await?;
        let (first, payload) = self.socket.receive().await?;
        self.answers.set(self.answers.get() + 1);
        self.bytes.set(self.bytes.get() + payload.len());
        if first == TEXT | COMPRESSED {
            self.plain.clear();
            self.plain.reserve(text.plain.len() + 64);
            let flush = FlushDecompress::Sync;
            let tail = [0, 0, 0xff, 0xff];
            self.inflater
                .decompress_vec(payload, &mut self.plain, flush)?;
            self.inflater
                .decompress_vec(&tail, &mut self.plain, flush)?;
            if self.forgets {
                self.inflater.reset(false);
            }
            return right(self.plain == text.plain);
        }
        right(first == TEXT && payload == text.plain)
    }
}

fn right(is_right: bool) -> Result {
    match is_right {
        true => Ok(()),
        false => Err("another answer than the message".into()),
    }
}

/// Different messages of one size.
struct Texts(Vec<Text>);

struct Text {
    plain: Vec<u8>,
    frame: Vec<u8>,
    /// The frame of the compressed message.
    deflated: Vec<u8>,
}

impl Texts {
    fn new(size: usize) -> Result<Self> {
        let mut number = 0;
        let mut texts = Vec::new();
        for _ in 0..CONTENT_BYTES / size {
            let plain = json(size, &mut number);
            let mut stream = Compress::new(Compression::new(6), false);
            let mut deflated = Vec::with_capacity(2 * size + 64);
            stream.compress_vec(&plain, &mut deflated, FlushCompress::Sync)?;
            if !deflated.ends_with(&TAIL) {
                return Err("a message that is not flushed".into());
            }
            deflated.truncate(deflated.len() - TAIL.len());
            texts.push(Text {
                frame: masked(TEXT, &plain),
                deflated: masked(TEXT | COMPRESSED, &deflated),
                plain,
            });
        }
        Ok(Self(texts))
    }
}

/// Text like JSON of this length in bytes, which repeats itself no more than what apps send.
fn json(size: usize, number: &mut u64) -> Vec<u8> {
    const NAMES: [&str; 8] = [
        "anna", "bert", "chloé", "dmitri", "eun-ji", "farah", "goran", "hiroshi",
    ];
    let mut text = "[".to_owned();
    while text.len() < size {
        *number += 1;
        // SplitMix64.
        let mut word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let name = NAMES[(word % 8) as usize];
        let (x, y) = ((word >> 8) % 4000, (word >> 24) % 4000);
        let (id, is_seen) = (word >> 40, word & 64 == 0);
        text += &format!(
            "{{\"id\":\"{id:06x}\",\"user\":\"{name}\",\"x\":{x},\"y\":{y},\"at\":{},\"seen\":{is_seen}}},",
            1_790_000_000_000 + *number * 137
        );
    }
    let mut end = size;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.into_bytes()
}
