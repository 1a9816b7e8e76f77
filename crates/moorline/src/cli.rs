//! The command line that every app shares.

mod control;
#[cfg(feature = "demo")]
mod demo;
mod doctor;
mod flight;
mod hints;
#[cfg(feature = "import")]
mod import;
mod look;
#[cfg(feature = "manual")]
mod manual;
mod output;
#[cfg(all(
    test,
    feature = "import",
    feature = "lua",
    feature = "manual",
    feature = "tools",
    feature = "top"
))]
mod pages;
mod peers;
#[cfg(feature = "lua")]
mod run;
mod serve;
mod table;
#[cfg(feature = "top")]
mod top;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue};
use clap::{Args, Parser, Subcommand};
use moorline_engine::config::ConfigErrors;
use moorline_engine::session_id::SessionId;
use moorline_net::unit;

/// What this program can serve.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Served {
    /// Whatever its app handles, with a check of the app's settings.
    App(CheckApp),
    /// There is no app.
    OnlyLua,
}

/// Checks `[app]` of the configuration at a path as its app reads it.
pub(crate) type CheckApp = fn(&Path) -> Result<(), ConfigErrors>;

/// A network engine whose connections outlive the code that serves them.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = false)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the engine in the foreground.
    Serve {
        /// A TOML file, or a folder with `moorline.toml`.
        config: Option<PathBuf>,
        /// Drain and end when the process that has started this one ends.
        #[arg(long, hide = true)]
        end_with_parent: bool,
    },
    /// Check a configuration and print each error with its place and a hint.
    Check {
        /// A TOML file, or a folder with `moorline.toml`.
        config: Option<PathBuf>,
    },
    /// Look whether this machine is fit for a configuration, and say what to set.
    Doctor {
        /// A TOML file, or a folder with `moorline.toml`.
        config: Option<PathBuf>,
    },
    /// Replace the code behind the connections by what is at the executable's path now.
    Reload {
        /// Replace task workers only.
        #[arg(long)]
        tasks: bool,
        #[command(flatten)]
        engine: EngineChoice,
    },
    /// Replace the gateway by the executable that is at its path now: connections stay, and workers go on.
    Upgrade {
        /// Close the connections that cannot move, as a drain does, instead of refusing.
        #[arg(long)]
        close_rest: bool,
        /// The time over which they close, as in 10s. Default: 1s.
        #[arg(long, value_name = "TIME", value_parser = duration, requires = "close_rest")]
        over: Option<Duration>,
        #[command(flatten)]
        engine: EngineChoice,
    },
    /// Drain the running engine and end it; returns when it has ended.
    Stop {
        #[command(flatten)]
        engine: EngineChoice,
    },
    /// Close the sessions of the running engine, spread over a time; new connections are served as before.
    Drain {
        /// The time, as in 60s. Default: `stop_over`, or 30s without one.
        #[arg(long, value_name = "TIME", value_parser = duration)]
        over: Option<Duration>,
        /// Only the sessions of this listener.
        #[arg(long, value_name = "NAME")]
        listener: Option<String>,
        #[command(flatten)]
        engine: EngineChoice,
    },
    /// Close sessions of the running engine: each when no message of it is in progress.
    Close {
        /// Their ids, as `sessions` shows them.
        #[arg(required = true, value_name = "SESSION")]
        ids: Vec<SessionId>,
        #[command(flatten)]
        engine: EngineOption,
    },
    /// Have a listener of the running engine accept connections again, or none until it is told to: then clients wait.
    Accept {
        /// Its name.
        #[arg(value_name = "LISTENER")]
        listener: String,
        /// It accepts none. This lasts over reloads, until the engine ends.
        #[arg(long)]
        none: bool,
        #[command(flatten)]
        engine: EngineChoice,
    },
    /// Show how the running engine is.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        engine: EngineChoice,
    },
    #[cfg(feature = "top")]
    Top(top::TopArgs),
    /// List the sessions of the running engine.
    Sessions {
        /// As JSON, one object a line.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        engine: EngineChoice,
    },
    /// Show the upstreams of the running engine and their peers, or change peers.
    Upstreams {
        #[command(subcommand)]
        change: Option<UpstreamsCommand>,
        /// As JSON, one object a line.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        engine: EngineChoice,
    },
    Flight(flight::FlightArgs),
    #[cfg(feature = "import")]
    Import(import::ImportArgs),
    #[cfg(feature = "lua")]
    Run(run::RunArgs),
    #[cfg(feature = "demo")]
    Demo(demo::DemoArgs),
    #[cfg(feature = "tools")]
    Dial(crate::dial::DialArgs),
    /// Generate load for a server, check every answer, and show what it cost.
    #[cfg(feature = "tools")]
    Bench(crate::bench::BenchArgs),
    /// Print what a shell needs to complete this command.
    #[cfg(feature = "manual")]
    Completions {
        /// Which shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write man pages of this command and its subcommands.
    #[cfg(feature = "manual")]
    Man {
        /// The folder, as in /usr/local/share/man/man1.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

/// What `upstreams` may do beside showing them.
#[derive(Debug, Subcommand)]
enum UpstreamsCommand {
    /// Change a peer as long as the gateway lives, also over reloads; a weight until a reload brings another one.
    Set {
        /// As in mysql/10.0.0.1:3306, or mysql/db.example:3306 for all addresses of a name.
        #[arg(value_name = "UPSTREAM/PEER")]
        peer: String,
        #[command(flatten)]
        change: PeerSwitch,
        #[command(flatten)]
        engine: EngineChoice,
    },
}

/// What becomes of a peer.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct PeerSwitch {
    /// It gets no connections.
    #[arg(long)]
    down: bool,
    /// It gets connections, whatever the configuration says.
    #[arg(long)]
    up: bool,
    /// It gets no new connections, and is still checked.
    #[arg(long)]
    drain: bool,
    /// Its share of the connections.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_535))]
    weight: Option<u32>,
}

/// Durations on the command line are written as in the configuration.
fn duration(text: &str) -> Result<Duration, String> {
    unit::duration(text).map_err(|error| error.to_string())
}

/// Which running engine is meant.
#[derive(Debug, Clone, Args)]
pub(crate) struct EngineChoice {
    /// The configuration that it was started with.
    config: Option<PathBuf>,
    /// Its run folder, instead of a configuration.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    run_dir: Option<PathBuf>,
}

/// Which running engine is meant, where the other arguments have no end.
#[derive(Debug, Clone, Args)]
struct EngineOption {
    /// The configuration that it was started with.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Its run folder, instead of a configuration.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    run_dir: Option<PathBuf>,
}

impl From<EngineOption> for EngineChoice {
    fn from(EngineOption { config, run_dir }: EngineOption) -> Self {
        Self { config, run_dir }
    }
}

/// Parses the arguments and does what they say.
pub(crate) fn run(default_config: Option<PathBuf>, served: Served) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misunderstood(&error),
    };
    let paths = Paths {
        default: default_config,
        served,
    };
    match cli.command {
        None if paths.default.is_some() => serve::serve(&paths, None, false),
        None => {
            output::warn(
                "error: no command given; `serve` runs the engine, `--help` tells what else there is",
            );
            ExitCode::from(USAGE)
        }
        Some(command) => perform(command, &paths),
    }
}

fn perform(command: Command, paths: &Paths) -> ExitCode {
    match command {
        Command::Serve {
            config,
            end_with_parent,
        } => serve::serve(paths, config, end_with_parent),
        Command::Check { config } => serve::check(paths, config),
        Command::Doctor { config } => serve::doctor(paths, config),
        Command::Upgrade {
            close_rest,
            over,
            engine,
        } => control::upgrade(paths, engine, close_rest.then_some(over)),
        Command::Reload { tasks, engine } => control::reload(paths, engine, tasks),
        Command::Stop { engine } => control::stop(paths, engine),
        Command::Drain {
            over,
            listener,
            engine,
        } => control::drain(paths, engine, over, listener),
        Command::Close { ids, engine } => control::close(paths, engine.into(), &ids),
        Command::Accept {
            listener,
            none,
            engine,
        } => control::accept(paths, engine, listener, !none),
        Command::Status { json, engine } => control::status(paths, engine, json),
        #[cfg(feature = "top")]
        Command::Top(args) => top::run(paths, args),
        Command::Sessions { json, engine } => control::sessions(paths, engine, json),
        Command::Upstreams {
            change,
            json,
            engine,
        } => upstreams(paths, change, json, engine),
        Command::Flight(args) => flight::flight(paths, args),
        #[cfg(feature = "import")]
        Command::Import(args) => import::import(&args),
        #[cfg(feature = "lua")]
        Command::Run(args) => run::run(args),
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::run(paths, &args),
        #[cfg(feature = "tools")]
        Command::Dial(args) => crate::dial::run(&args),
        #[cfg(feature = "tools")]
        Command::Bench(args) => control::bench(paths, &args),
        #[cfg(feature = "manual")]
        Command::Completions { shell } => manual::completions(shell),
        #[cfg(feature = "manual")]
        Command::Man { folder } => manual::man(&folder),
    }
}

fn upstreams(
    paths: &Paths,
    change: Option<UpstreamsCommand>,
    json: bool,
    engine: EngineChoice,
) -> ExitCode {
    match change {
        None => control::upstreams(paths, engine, json),
        Some(UpstreamsCommand::Set {
            peer,
            change,
            engine,
        }) => control::set_peer(paths, engine, &peer, &change),
    }
}

/// Prints what is wrong with the arguments, or the help that they ask for.
fn misunderstood(error: &clap::Error) -> ExitCode {
    // The reader may be gone.
    let _ = error.print();
    if let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand)
        && let Some(command) = hints::meant(word)
    {
        output::warn(format_args!("\n  hint: the command is `{command}` here"));
    }
    ExitCode::from(if error.use_stderr() { USAGE } else { 0 })
}

/// The exit code for wrong arguments.
const USAGE: u8 = 2;

/// Where configurations are found, and what is served.
struct Paths {
    default: Option<PathBuf>,
    served: Served,
}

impl Paths {
    /// The named one, or the app's default, or the one in this folder.
    fn config(&self, named: Option<PathBuf>) -> Result<PathBuf, Failure> {
        if let Some(path) = named.or_else(|| self.default.clone()) {
            return Ok(path);
        }
        let here = PathBuf::from("moorline.toml");
        if here.exists() {
            return Ok(here);
        }
        Err(Failure::usage(
            "no configuration named, and there is no moorline.toml in this folder\n  \
             hint: name one, as in `serve path/to/moorline.toml`",
        ))
    }
}

/// The message before the end, and the exit code.
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn usage(message: impl Display) -> Self {
        Self {
            code: USAGE,
            message: message.to_string(),
        }
    }

    fn failed(message: impl Display) -> Self {
        Self {
            code: 1,
            message: message.to_string(),
        }
    }
}

/// `main` has a runtime of its own, in which none of the engine's can run.
pub(crate) fn refuse_runtime() -> ExitCode {
    finish(Err(Failure::usage(
        "`moorline::run` was called within a tokio runtime, and makes its own\n  \
         hint: write `fn main() -> ExitCode { moorline::run(MyApp::start) }`, without #[tokio::main]; async code belongs into `start`",
    )))
}

/// Says why it failed, if it did.
fn finish(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, message }) => {
            output::warn(format_args!("error: {message}"));
            ExitCode::from(code)
        }
    }
}
