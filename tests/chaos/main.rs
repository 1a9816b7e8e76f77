//! Chaos: an echo and a chat under load, to which everything happens that may happen to an engine, and an account of
//! every loss. `cargo xtask chaos` builds and runs it.
//!
//! - [`plan`]: what is done and when, from a seed
//! - [`subject`], [`strangers`]: doing it
//! - [`crowd`] with its [`exchange`]s, and [`room`]: the clients that notice
//! - [`account`]: what was promised, held against what they noticed

mod account;
mod crowd;
mod exchange;
mod plan;
mod room;
mod strangers;
mod subject;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use account::{Account, Lost, Tally};
use clap::Parser;
use crowd::{Crowd, Part};
use exchange::{Messages, Script};
use plan::{Plan, Powers, Round, Step, Target};
use room::Room;
use subject::{Cast, Subject};
use support::{Random, Site, Wire, happens_within};

/// How long a session may wait for its next answer once everything serves again.
const PROGRESS: Duration = Duration::from_secs(60);
/// How long the last losses of a round may take to be noticed on both sides.
const SETTLING: Duration = Duration::from_secs(20);
/// The disk that a log lies on.
const DISK: &str = "size=2m";

/// Harms an echo and a chat under load in every way, and explains every loss.
#[derive(Parser)]
struct Arguments {
    /// How long harm is done; counting everyone between two rounds comes on top.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The same seed makes the same plan.
    #[arg(long)]
    seed: Option<u64>,
    /// Print the plan and do nothing.
    #[arg(long)]
    plan: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(1, |now| now.as_secs())
    });
    let powers = match nix::unistd::geteuid().is_root() {
        true => Powers::Root,
        false => Powers::User,
    };
    let plan = Plan::new(seed, Duration::from_secs(arguments.seconds), powers);
    println!("chaos: --seconds {} --seed {seed}", arguments.seconds);
    if powers == Powers::User {
        println!("no log's disk is filled, since only root can mount a small one");
    }
    print!("{plan}");
    if arguments.plan {
        return ExitCode::SUCCESS;
    }
    let wrong = Stage::set(seed, powers).play(&plan);
    if wrong.is_empty() {
        println!("chaos: every loss is explained");
        return ExitCode::SUCCESS;
    }
    for text in &wrong {
        println!("WRONG: {text}");
    }
    println!(
        "chaos: {} things are not explained; again with: cargo xtask chaos --seconds {} --seed {seed}",
        wrong.len(),
        arguments.seconds
    );
    ExitCode::FAILURE
}

/// Both engines with their clients.
struct Stage {
    echo: Subject,
    crowd: Crowd,
    chat: Subject,
    room: Room,
    wrong: Vec<String>,
}

/// What has been counted by the end of a round, of both engines.
struct Tallies {
    echo: Tally,
    chat: Tally,
}

impl Stage {
    fn set(seed: u64, powers: Powers) -> Stage {
        let mut random = Random::seeded(seed);
        let [redeliver, close, drop, flooded] = free_addresses();
        let echo = Cast {
            app: "echo",
            workers: 2,
            tasks: 2,
            helpers: 1,
            door: close,
            flooded: Some(flooded),
        };
        let part = |name, address, script, messages| Part {
            name,
            address,
            sessions: 12,
            script,
            messages,
        };
        let parts = vec![
            part("redeliver", redeliver, Script::Echo, Messages::Stay),
            part("close", close, Script::Echo, Messages::Stay),
            part("drop", drop, Script::Echo, Messages::MayBeLost),
            part("tasks", redeliver, Script::Tasks, Messages::Stay),
        ];
        let echo = Subject::start(echo, echo_site(redeliver, close, drop, flooded, powers));
        let [web, terminals] = free_addresses();
        let chat = Cast {
            app: "chat",
            workers: 2,
            tasks: 0,
            helpers: 0,
            door: terminals,
            flooded: None,
        };
        let chat = Subject::start(chat, chat_site(web, terminals));
        let mut doors = vec![(format!("tcp://{terminals}"), Wire::LENGTH); 6];
        doors.extend(vec![(format!("http://{web}/"), Wire::WebSocket); 4]);
        Stage {
            crowd: Crowd::start(parts, &mut random),
            echo,
            room: Room::open(doors),
            chat,
            wrong: Vec::new(),
        }
    }

    /// All of the plan; what nothing explains is returned.
    fn play(mut self, plan: &Plan) -> Vec<String> {
        let mut before = self.muster(None, "before");
        for (number, round) in plan.rounds.iter().enumerate() {
            let name = format!("round {}", number + 1);
            println!("{name} of {}", plan.rounds.len());
            self.suffer(round);
            before = self.muster(Some(&before), &name);
        }
        self.end()
    }

    fn suffer(&mut self, round: &Round) {
        let begun = Instant::now();
        for Step { at, target, deed } in &round.steps {
            thread::sleep(at.saturating_sub(begun.elapsed()));
            match target {
                Target::Echo => self.echo.suffer(*deed),
                Target::Chat => self.chat.suffer(*deed),
            }
        }
        thread::sleep(round.length.saturating_sub(begun.elapsed()));
    }

    /// Counts everyone, and holds the two accounts of what was lost since `before` against each other.
    fn muster(&mut self, before: Option<&Tallies>, round: &str) -> Tallies {
        let begun = Instant::now();
        let now = Tallies {
            echo: self.muster_echo(before.map(|before| &before.echo), round),
            chat: self.muster_chat(before.map(|before| &before.chat), round),
        };
        println!("  counted within {:?}", begun.elapsed());
        now
    }

    fn muster_echo(&mut self, before: Option<&Tally>, round: &str) -> Tally {
        self.echo.muster();
        let behind = self.crowd.progress(3, PROGRESS);
        if !behind.is_empty() {
            self.wrong(round, vec![format!("sessions {behind:?} get no answers")]);
        }
        let mut wrong = self.crowd.wrong();
        let most = self.crowd.sessions();
        if !happens_within(PROGRESS, || {
            self.echo.sessions().is_some_and(|now| now <= most)
        }) {
            let now = self.echo.sessions();
            wrong.push(format!("{now:?} sessions of {most} clients"));
        }
        self.wrong(round, wrong);
        let lost = || {
            let notes = self.crowd.notes();
            Lost {
                closed: notes.values().map(|seen| seen.closed).sum(),
                missing: notes.values().map(|seen| seen.missing).sum(),
            }
        };
        let (now, wrong) = settle("echo", &mut self.echo, before, lost);
        self.wrong(round, wrong);
        now
    }

    fn muster_chat(&mut self, before: Option<&Tally>, round: &str) -> Tally {
        self.chat.muster();
        let members = self.room.members() as u64;
        if !happens_within(PROGRESS, || self.chat.sessions() == Some(members)) {
            let text = format!(
                "{members} members are not {:?} sessions",
                self.chat.sessions()
            );
            self.wrong(round, vec![text]);
        }
        let mut wrong = self.room.roll_call(PROGRESS);
        wrong.extend(self.room.wrong());
        self.wrong(round, wrong);
        let lost = || Lost {
            closed: self.room.closed(),
            missing: 0,
        };
        let (now, wrong) = settle("chat", &mut self.chat, before, lost);
        self.wrong(round, wrong);
        now
    }

    fn end(mut self) -> Vec<String> {
        for (name, seen) in self.crowd.notes() {
            println!(
                "{name}: {} answers, {} sessions closed, {} messages lost",
                seen.answers, seen.closed, seen.missing
            );
        }
        let (heard, overtaken) = self.room.heard();
        println!(
            "chat: {heard} lines heard, {overtaken} of them after a later one, {} sessions closed",
            self.room.closed()
        );
        let mut wrong = self.crowd.finish();
        self.room.leave();
        if !self.wrong.is_empty() {
            for subject in [&self.echo, &self.chat] {
                let log = subject.log();
                let interesting = log.lines().filter(|line| !line.contains("session closed"));
                for line in interesting {
                    eprintln!("{line}");
                }
            }
        }
        wrong.extend(self.echo.end());
        wrong.extend(self.chat.end());
        self.wrong.extend(wrong);
        self.wrong
    }

    fn wrong(&mut self, round: &str, found: Vec<String>) {
        for text in found {
            println!("  WRONG: {text}");
            self.wrong.push(format!("{round}: {text}"));
        }
    }
}

/// Waits until what clients have lost and what the engine has counted agree, or do not.
fn settle(
    name: &str,
    subject: &mut Subject,
    before: Option<&Tally>,
    lost: impl Fn() -> Lost,
) -> (Tally, Vec<String>) {
    let (done, mut wrong) = subject.take_notes();
    let look = || Tally {
        lost: lost(),
        counted: subject.counted().unwrap_or_default(),
    };
    let mut now = look();
    if let Some(before) = before {
        let mut account = Account::between(&done, before, &now);
        happens_within(SETTLING, || {
            now = look();
            account = Account::between(&done, before, &now);
            account.unexplained().is_empty()
        });
        println!("  {name}: {account}");
        wrong.extend(account.unexplained());
    }
    let wrong = wrong.into_iter().map(|text| format!("{name}: {text}"));
    (now, wrong.collect())
}

/// An engine with a listener for each fate of messages, one for floods, and a log on a disk of its own.
fn echo_site(
    redeliver: SocketAddr,
    close: SocketAddr,
    drop: SocketAddr,
    flooded: SocketAddr,
    powers: Powers,
) -> std::sync::Arc<Site> {
    let listener = |address: SocketAddr, more: &str| {
        format!(
            "[[listen]]\naddress = \"tcp://{address}\"\nframing = {{ kind = \"length\", width = 4, endian = \"big\", offset = 0, body = 4, max = \"1MiB\" }}\n{more}\n"
        )
    };
    let config = [
        "[engine]\ngateway_loops = 2\n".to_owned(),
        "[engine.log]\nfile = \"{folder}/log/engine.log\"\n".to_owned(),
        "[workers]\ncount = 2\nmax_wait = \"3s\"\n[tasks]\ncount = 2\nattempts = 20\n".to_owned(),
        "[[helpers]]\nname = \"feeder\"\ncommand = [\"/bin/sh\", \"-c\", \"while :; do echo fed; sleep 1; done\"]\n".to_owned(),
        listener(redeliver, "on_crash = \"redeliver\"\nattempts = 20"),
        listener(close, "on_crash = \"close\""),
        listener(drop, "on_crash = \"drop\""),
        listener(flooded, "high_watermark = \"256KiB\"\nhard_limit = \"1MiB\""),
        "[app]\ncommands = true\ndelay = \"2ms\"\n".to_owned(),
    ]
    .concat();
    let site = Site::new("echo", &config);
    let log = site.path("log");
    fs::create_dir(&log).expect("the folder can be written");
    if powers == Powers::Root {
        // In a mount namespace of our own, so that it goes with us.
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", DISK, "chaos"])
            .arg(&log)
            .status()
            .expect("mount is part of every Debian");
        assert!(mounted.success(), "a disk for the log");
    }
    site
}

fn chat_site(web: SocketAddr, terminals: SocketAddr) -> std::sync::Arc<Site> {
    Site::new(
        "chat",
        &format!(
            "[workers]\ncount = 2\nmax_wait = \"3s\"\n[[listen]]\naddress = \"http://{web}\"\nwebsocket = \"/ws\"\n[[listen]]\naddress = \"tcp://{terminals}\"\nframing = {{ kind = \"length\", width = 4, endian = \"big\", offset = 0, body = 4, max = \"64KiB\" }}\n"
        ),
    )
}

/// Addresses that nobody listens on. An engine that is started again has the same as before, as in real life; so they
/// are none that the kernel gives to clients, one of which would take it while there is no engine.
fn free_addresses<const COUNT: usize>() -> [SocketAddr; COUNT] {
    // Engines of two such runs at a time begin at different ones.
    let mut port = 15_000 + (std::process::id() % 1_000) as u16 * 16;
    [(); COUNT].map(|()| {
        loop {
            port += 1;
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            if TcpListener::bind(address).is_ok() {
                return address;
            }
        }
    })
}
