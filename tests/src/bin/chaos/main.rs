//! Chaos: an echo, a chat and an echo with a hostile worker under load, to which everything happens that may happen to an engine, and an account of
//! every loss. `cargo xtask chaos` builds and runs it.
//!
//! - [`plan`]: what is done and when, from a seed
//! - [`sites`], [`subject`], [`outsiders`]: the engines, and doing it
//! - [`crowd`] with its [`exchange`]s, [`room`] and [`board`]: the clients that notice
//! - [`account`]: what was promised, held against what they noticed

mod account;
mod board;
mod crowd;
mod exchange;
mod limits;
mod outsiders;
mod plan;
mod room;
mod sites;
mod subject;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use account::{Account, Lost, Tally};
use board::{Board, BoardSeen};
use clap::Parser;
use crowd::{Crowd, Part};
use exchange::{Messages, Script};
use moorline_tests::{Issuer, Random, Wire, happens_within};
use plan::{Plan, Powers, Round, Step, Target};
use room::Room;
use subject::{Cast, Subject};

/// How long a session may wait for its next answer once everything serves again.
const PROGRESS: Duration = Duration::from_secs(60);
/// How long the last losses of a round may take to be noticed on both sides.
const SETTLING: Duration = Duration::from_secs(20);

/// Harms an echo and a chat under load in every way, and explains every loss.
#[derive(Parser)]
struct Arguments {
    /// How long harm is done; counting everyone between two rounds comes on top.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The same seed makes the same plan.
    #[arg(long)]
    seed: Option<u64>,
    /// Upgrade the gateways beside everything else.
    #[arg(long)]
    upgrades: bool,
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
    let powers = match sites::may_mount() {
        true => Powers::Root,
        false => Powers::User,
    };
    let mut plan = Plan::new(seed, Duration::from_secs(arguments.seconds), powers);
    let mut again = format!("--seconds {} --seed {seed}", arguments.seconds);
    if arguments.upgrades {
        plan = plan.with_upgrades(seed);
        again.push_str(" --upgrades");
    }
    println!("chaos: {again}");
    if powers == Powers::User {
        println!(
            "no disk is filled: a small one is mounted only by root, in a mount namespace of its own"
        );
    }
    print!("{plan}");
    if arguments.plan {
        return ExitCode::SUCCESS;
    }
    if powers == Powers::Root {
        sites::mount_shared_memory();
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
        "chaos: {} things are not explained; again with: cargo xtask chaos {again}",
        wrong.len()
    );
    ExitCode::FAILURE
}

/// The engines with their clients.
struct Stage {
    echo: Subject,
    crowd: Crowd,
    /// The readers and writers of the same engine.
    board: Board,
    chat: Subject,
    room: Room,
    wild: Subject,
    /// The clients of that.
    pack: Crowd,
    wrong: Vec<String>,
}

/// What has been counted by the end of a round, of each engine.
struct Tallies {
    echo: Tally,
    chat: Tally,
    wild: Tally,
}

impl Stage {
    #[expect(clippy::too_many_lines, reason = "one line for each part")]
    fn set(seed: u64, powers: Powers) -> Stage {
        let mut random = Random::seeded(seed);
        let doors = sites::EchoDoors::free();
        let echo = Cast {
            app: "echo",
            workers: 2,
            tasks: 2,
            helpers: 1,
            door: doors.close,
            flooded: Some(doors.flooded),
        };
        let issuer = Issuer::new();
        let part = |name, address, script, messages| Part {
            name,
            address,
            trust: None,
            sessions: 12,
            script,
            messages,
        };
        let parts = vec![
            part("redeliver", doors.redeliver, Script::Echo, Messages::Stay),
            Part {
                trust: Some(issuer.trust().config()),
                ..part("sealed", doors.sealed, Script::Echo, Messages::Stay)
            },
            part("spread", doors.spread, Script::Echo, Messages::Stay),
            part("close", doors.close, Script::Echo, Messages::Stay),
            part("drop", doors.drop, Script::Echo, Messages::MayBeLost),
            part("tasks", doors.redeliver, Script::Tasks, Messages::Stay),
        ];
        let echo = Subject::start(echo, sites::echo(&doors, &issuer, powers));
        let web = doors.web;
        let doors = sites::ChatDoors::free();
        let chat = Cast {
            app: "chat",
            workers: 2,
            tasks: 0,
            helpers: 0,
            door: doors.terminals,
            flooded: None,
        };
        let chat = Subject::start(chat, sites::chat(&doors));
        let wild_doors = sites::WildDoors::free();
        let wild = Cast {
            app: "hostile_worker",
            workers: 2,
            tasks: 1,
            helpers: 0,
            door: wild_doors.close,
            flooded: None,
        };
        let herd = vec![
            part(
                "wild redeliver",
                wild_doors.redeliver,
                Script::Echo,
                Messages::Stay,
            ),
            part("wild close", wild_doors.close, Script::Echo, Messages::Stay),
            part(
                "wild drop",
                wild_doors.drop,
                Script::Echo,
                Messages::MayBeLost,
            ),
        ];
        let wild = Subject::start(wild, sites::wild(&wild_doors));
        let mut members = vec![(format!("tcp://{}", doors.terminals), Wire::LENGTH); 6];
        members.extend(vec![(format!("http://{}/", doors.web), Wire::WebSocket); 4]);
        Stage {
            crowd: Crowd::start(parts, &mut random),
            echo,
            room: Room::open(members),
            chat,
            pack: Crowd::start(herd, &mut random),
            wild,
            board: Board::open(web, &mut random),
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
                Target::Wild => self.wild.suffer(*deed),
            }
        }
        thread::sleep(round.length.saturating_sub(begun.elapsed()));
    }

    /// Counts everyone, and holds the two accounts of what was lost since `before` against each other.
    fn muster(&mut self, before: Option<&Tallies>, round: &str) -> Tallies {
        let begun = Instant::now();
        let now = Tallies {
            echo: self.muster_crowd(Target::Echo, before.map(|before| &before.echo), round),
            chat: self.muster_chat(before.map(|before| &before.chat), round),
            wild: self.muster_crowd(Target::Wild, before.map(|before| &before.wild), round),
        };
        println!("  counted within {:?}", begun.elapsed());
        now
    }

    fn muster_crowd(&mut self, target: Target, before: Option<&Tally>, round: &str) -> Tally {
        let (name, subject, crowd, board) = match target {
            Target::Wild => ("wild", &mut self.wild, &self.pack, None),
            Target::Echo | Target::Chat => ("echo", &mut self.echo, &self.crowd, Some(&self.board)),
        };
        subject.muster();
        let behind = crowd.progress(3, PROGRESS);
        let mut wrong = crowd.wrong();
        if !behind.is_empty() {
            wrong.push(format!("{name}: sessions {behind:?} get no answers"));
            eprintln!("{}", subject.listing());
        }
        wrong.extend(board.iter().flat_map(|board| board.muster(PROGRESS)));
        let most = crowd.sessions() + board.map_or(0, |_| Board::sessions());
        if !happens_within(PROGRESS, || {
            subject.sessions().is_some_and(|now| now <= most)
        }) {
            let now = subject.sessions();
            wrong.push(format!("{name}: {now:?} sessions of {most} clients"));
        }
        let lost = || {
            let notes = crowd.notes();
            let seen = board.map_or_else(BoardSeen::default, Board::seen);
            Lost {
                closed: notes.values().map(|seen| seen.closed).sum::<u64>() + seen.closed,
                missing: notes.values().map(|seen| seen.missing).sum(),
                unanswered: seen.unanswered,
                gaps: seen.gaps,
            }
        };
        let (now, unexplained) = settle(name, subject, before, lost);
        wrong.extend(unexplained);
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
            ..Lost::default()
        };
        let (now, wrong) = settle("chat", &mut self.chat, before, lost);
        self.wrong(round, wrong);
        now
    }

    fn end(mut self) -> Vec<String> {
        let notes = self.crowd.notes().into_iter().chain(self.pack.notes());
        for (name, seen) in notes {
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
        let (events, answers) = self.board.counts();
        println!(
            "board: {events} events, {answers} requests answered, {:?}",
            self.board.seen()
        );
        for (name, subject) in [
            ("chat", &self.chat),
            ("wild", &self.wild),
            ("echo", &self.echo),
        ] {
            println!("{name}: {}", subject.upgrades());
        }
        self.board.close();
        let mut wrong = self.crowd.finish();
        wrong.extend(self.pack.finish());
        self.room.leave();
        if !self.wrong.is_empty() {
            for subject in [&self.echo, &self.chat, &self.wild] {
                let log = subject.log();
                let interesting = log.lines().filter(|line| !line.contains("session closed"));
                for line in interesting {
                    eprintln!("{line}");
                }
            }
        }
        wrong.extend(self.echo.end());
        wrong.extend(self.chat.end());
        wrong.extend(self.wild.end());
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
