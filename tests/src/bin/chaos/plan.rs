//! What is done, when, and to which process. All of it follows from the seed: no clock, no process.
//!
//! Time is cut into rounds. In a round deeds follow each other faster than the engine can recover from them; at its
//! end everyone is counted. Deeds are dealt like cards, so that every kind comes up within about a minute.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use moorline_tests::Random;

/// Long enough for deeds to meet, short enough that a loss has few causes.
const ROUND: Duration = Duration::from_secs(8);
/// From one deed to the next, in milliseconds. Often shorter than a process takes to start.
const PAUSE: Range<usize> = 150..900;
/// How long a process is stopped, in milliseconds: up to more than the engines' `max_wait`.
const STOP: Range<usize> = 100..4000;
/// How long a process gets no descriptors, or no memory files, in milliseconds.
const STARVE: Range<usize> = 200..2000;
/// What a hostile worker does: the misuses of `tests/src/bin/hostile_worker` that no honest worker commits and that change
/// nothing of what clients have sent.
const MISUSES: [&str; 22] = [
    "hang",
    "spoil-page",
    "written-forwards",
    "written-backwards",
    "taken-forwards",
    "flags",
    "broadcasts",
    "questions",
    "sends",
    "files",
    "parts",
    "control-garbage",
    "control-flood",
    "control-foreign",
    "files-garbage",
    "block-descriptors",
    "fill-descriptors",
    "steal-bells",
    "ring-bells",
    "shut-down",
    "board",
    "truncate-all",
];
/// From one upgrade to the next, in milliseconds, where there are upgrades beside everything else.
const UPGRADE_PAUSE: Range<usize> = 200..1200;
/// How long a log has no room, in milliseconds.
const FULL: Range<usize> = 500..3000;

/// Everything that will be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) rounds: Vec<Round>,
}

/// What is done before everyone is counted again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) length: Duration,
    pub(crate) steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// Since the beginning of the round.
    pub(crate) at: Duration,
    pub(crate) target: Target,
    pub(crate) deed: Deed,
}

/// The engine that it is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Echo,
    Chat,
    /// Whose worker is exchanged for a hostile one.
    Wild,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// SIGKILL.
    Kill(Role),
    /// TERM to the supervisor, and another start.
    Restart,
    /// SIGSTOP, and SIGCONT after this time.
    Stop(Role, Duration),
    /// TERM to a worker or task worker, which asks for its replacement.
    Retire(Role),
    /// TERM to one that is not told to end by that.
    Terminate(Role),
    /// A worker that means harm in this way, for a while.
    Misuse(&'static str),
    /// No descriptor more for this process, for this time.
    Starve(Role, Duration),
    /// No memory for new rings and a full `/dev/shm`, for this time.
    FillMemory(Duration),
    Reload,
    /// A gateway of the same build follows the present one.
    Upgrade,
    ReloadTasks,
    /// A reload while a program that ends at once lies in the executable's place.
    BreakDeployment,
    /// Clients that send as fast as they can and read nothing.
    Flood,
    /// Clients that connect and leave, many at once.
    Storm,
    /// Bytes that are no messages.
    Garbage,
    /// A message whose handler fails, then one whose handler ends its worker by a fault.
    Poison,
    /// No room for the log for this time.
    FillLog(Duration),
    /// The log file is moved away, and the engine told to open it anew.
    RotateLog,
}

/// A process of an engine. The number picks one, of however many of its kind there are at that time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Worker(u16),
    Task(u16),
    Helper,
    Gateway,
    Supervisor,
}

/// What may be done as this user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Powers {
    /// Without root, or without namespaces of its own, the chaos cannot mount the small file system whose log is filled.
    User,
    Root,
}

/// A deed whose details are not drawn yet.
type Draw = fn(&mut Random) -> Deed;

/// Each with how often it is in a deck.
const DECK: &[(Draw, usize)] = &[
    (|random| Deed::Kill(Role::Worker(place(random))), 18),
    (|random| Deed::Kill(Role::Task(place(random))), 5),
    (|_| Deed::Kill(Role::Helper), 2),
    (|_| Deed::Kill(Role::Gateway), 2),
    (|_| Deed::Kill(Role::Supervisor), 1),
    (|_| Deed::Restart, 1),
    (
        |random| Deed::Stop(Role::Worker(place(random)), time(random, STOP)),
        3,
    ),
    (
        |random| Deed::Stop(Role::Task(place(random)), time(random, STOP)),
        1,
    ),
    (|random| Deed::Stop(Role::Gateway, time(random, STOP)), 1),
    (|random| Deed::Stop(Role::Supervisor, time(random, STOP)), 1),
    (|random| Deed::Retire(Role::Worker(place(random))), 3),
    (|random| Deed::Retire(Role::Task(place(random))), 1),
    (|_| Deed::Terminate(Role::Gateway), 1),
    (|_| Deed::Terminate(Role::Helper), 1),
    (|random| Deed::Stop(Role::Helper, time(random, STOP)), 1),
    (
        |random| Deed::Misuse(MISUSES[random.within(0..MISUSES.len())]),
        10,
    ),
    (
        |random| Deed::Starve(Role::Gateway, time(random, STARVE)),
        2,
    ),
    (
        |random| Deed::Starve(Role::Supervisor, time(random, STARVE)),
        2,
    ),
    (
        |random| Deed::Starve(Role::Worker(place(random)), time(random, STARVE)),
        1,
    ),
    (|random| Deed::FillMemory(time(random, STARVE)), 2),
    (|_| Deed::Reload, 6),
    (|_| Deed::ReloadTasks, 2),
    (|_| Deed::BreakDeployment, 2),
    (|_| Deed::Flood, 2),
    (|_| Deed::Storm, 2),
    (|_| Deed::Garbage, 2),
    (|_| Deed::Poison, 2),
    (|random| Deed::FillLog(time(random, FULL)), 2),
    (|_| Deed::RotateLog, 1),
];

impl Plan {
    pub(crate) fn new(seed: u64, length: Duration, powers: Powers) -> Plan {
        let mut random = Random::seeded(seed);
        let mut deck = Vec::new();
        let mut rounds = Vec::new();
        let mut left = length;
        while !left.is_zero() {
            let length = match left < ROUND * 3 / 2 {
                true => left,
                false => ROUND,
            };
            left -= length;
            let steps = round(&mut random, &mut deck, length, powers);
            rounds.push(Round { length, steps });
        }
        Plan { rounds }
    }

    /// The same, with upgrades of all engines in between.
    pub(crate) fn with_upgrades(mut self, seed: u64) -> Plan {
        let mut random = Random::seeded(seed);
        for round in &mut self.rounds {
            let mut at = time(&mut random, UPGRADE_PAUSE);
            while at < round.length {
                let targets = [Target::Chat, Target::Wild, Target::Echo];
                let target = targets[random.within(0..targets.len())];
                let deed = Deed::Upgrade;
                round.steps.push(Step { at, target, deed });
                at += time(&mut random, UPGRADE_PAUSE);
            }
            round.steps.sort_by_key(|step| step.at);
        }
        self
    }
}

fn round(random: &mut Random, deck: &mut Vec<Deed>, length: Duration, powers: Powers) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut at = time(random, PAUSE);
    while at < length {
        let deed = deal(random, deck, powers);
        let target = match random.within(0..3) {
            _ if matches!(deed, Deed::Misuse(_)) => Target::Wild,
            // The chat has neither task workers nor a log of its own to fill.
            0 if deed.is_for_all() => Target::Chat,
            _ => Target::Echo,
        };
        steps.push(Step { at, target, deed });
        at += time(random, PAUSE);
    }
    steps
}

/// The next card; without any left the deck is shuffled anew.
fn deal(random: &mut Random, deck: &mut Vec<Deed>, powers: Powers) -> Deed {
    loop {
        while let Some(deed) = deck.pop() {
            if powers == Powers::Root || !matches!(deed, Deed::FillLog(_)) {
                return deed;
            }
        }
        for (draw, count) in DECK {
            deck.extend((0..*count).map(|_| draw(random)));
        }
        for place in (1..deck.len()).rev() {
            deck.swap(place, random.within(0..place + 1));
        }
    }
}

fn place(random: &mut Random) -> u16 {
    random.within(0..6) as u16
}

fn time(random: &mut Random, milliseconds: Range<usize>) -> Duration {
    Duration::from_millis(random.within(milliseconds) as u64)
}

impl Deed {
    fn is_for_all(&self) -> bool {
        !matches!(
            self,
            Deed::Kill(Role::Task(_) | Role::Helper)
                | Deed::Stop(Role::Task(_) | Role::Helper, _)
                | Deed::Retire(Role::Task(_))
                | Deed::Terminate(Role::Helper)
                | Deed::ReloadTasks
                | Deed::Flood
                | Deed::Garbage
                | Deed::Poison
                | Deed::FillLog(_)
                | Deed::RotateLog
        )
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, round) in self.rounds.iter().enumerate() {
            writeln!(f, "round {} ({:?})", number + 1, round.length)?;
            for step in &round.steps {
                let seconds = step.at.as_secs_f64();
                writeln!(f, "  {seconds:6.3} s  {:?}: {}", step.target, step.deed)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Deed::Kill(role) => write!(f, "kill {role}"),
            Deed::Restart => write!(f, "stop and start again"),
            Deed::Stop(role, time) => write!(f, "hold {role} for {time:?}"),
            Deed::Retire(role) => write!(f, "retire {role}"),
            Deed::Terminate(role) => write!(f, "terminate {role}"),
            Deed::Misuse(how) => write!(f, "a hostile worker: #{how}"),
            Deed::Starve(role, time) => write!(f, "no descriptors for {role} for {time:?}"),
            Deed::FillMemory(time) => write!(f, "no memory for rings for {time:?}"),
            Deed::Reload => write!(f, "reload"),
            Deed::Upgrade => write!(f, "upgrade"),
            Deed::ReloadTasks => write!(f, "reload --tasks"),
            Deed::BreakDeployment => write!(f, "reload a broken build"),
            Deed::Flood => write!(f, "flood"),
            Deed::Storm => write!(f, "storm of connections"),
            Deed::Garbage => write!(f, "garbage"),
            Deed::Poison => write!(f, "poison"),
            Deed::FillLog(time) => write!(f, "fill the log's disk for {time:?}"),
            Deed::RotateLog => write!(f, "rotate the log"),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Role::Worker(place) => write!(f, "worker #{place}"),
            Role::Task(place) => write!(f, "task worker #{place}"),
            Role::Helper => write!(f, "the helper"),
            Role::Gateway => write!(f, "the gateway"),
            Role::Supervisor => write!(f, "the supervisor"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn plan(seed: u64) -> Plan {
        Plan::new(seed, MINUTE, Powers::Root)
    }

    #[test]
    fn the_same_seed_makes_the_same_plan_and_another_one_another() {
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn every_kind_of_deed_comes_up_within_a_minute() {
        for seed in 0..50 {
            let plan = plan(seed);
            let kinds: BTreeSet<String> = plan
                .rounds
                .iter()
                .flat_map(|round| &round.steps)
                .map(|step| {
                    let text = step.deed.to_string();
                    let words = text.split(|c: char| c == '#' || c.is_ascii_digit()).next();
                    words.unwrap_or_default().to_owned()
                })
                .collect();
            assert_eq!(kinds.len(), DECK.len(), "seed {seed}: {kinds:#?}");
        }
    }

    #[test]
    fn rounds_fill_the_time_and_steps_lie_within_them_in_order() {
        for seconds in [1, 8, 11, 12, 60, 61] {
            let length = Duration::from_secs(seconds);
            let plan = Plan::new(seconds, length, Powers::Root);
            let total: Duration = plan.rounds.iter().map(|round| round.length).sum();
            assert_eq!(total, length);
            for round in &plan.rounds {
                assert!(round.steps.is_sorted_by_key(|step| step.at));
                assert!(round.steps.iter().all(|step| step.at < round.length));
            }
        }
    }

    #[test]
    fn users_other_than_root_fill_no_disk() {
        let plan = Plan::new(1, MINUTE * 5, Powers::User);
        let mut steps = plan.rounds.iter().flat_map(|round| &round.steps);
        assert!(!steps.any(|step| matches!(step.deed, Deed::FillLog(_))));
    }

    #[test]
    fn the_chat_gets_no_order_that_it_does_not_know() {
        for step in plan(3).rounds.iter().flat_map(|round| &round.steps) {
            let is_misuse = matches!(step.deed, Deed::Misuse(_));
            assert_eq!(step.target == Target::Wild, is_misuse);
            assert!(step.target != Target::Chat || step.deed.is_for_all());
        }
    }
}
