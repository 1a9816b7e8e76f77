//! `[engine]`, `[workers]`, `[tasks]` and `[[helpers]]`: the processes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use moorline_net::MAX_UNIX_PATH_BYTES;

use super::cpu_affinity::cpu_affinity;
use super::error::{Report, Reported};
use super::host::Host;
use super::lua::lua;
use super::naming::TakenNames;
use super::walk::{Field, Section};
use super::{
    CpuAffinity, Dispatch, Engine, Helper, HelperTask, Hooks, Log, LogFormat, Tasks, Workers,
};

/// The control socket's file name in the run folder.
pub const CONTROL_SOCKET: &str = "control.sock";

/// Each loop is a thread with a ring pair to every process; more than this is a slip.
const MAX_LOOPS: u64 = 64;
/// The same bound as for loops; slots are numbered in 16 bits.
const MAX_PROCESSES: u64 = 512;
/// A datagram of 64 KiB and its sender's address must fit a record, and a record is at most half of a ring.
const MIN_RING: u64 = 384 << 10;
/// A loop's share of the default ring memory: two rings of 1 MiB.
const DEFAULT_LOOP_MEMORY: u64 = 2 << 20;
/// With one loop a message of 2 MiB is still one record. Memory is used only as the rings fill.
const DEFAULT_RING_MEMORY: u64 = 8 << 20;
/// Memory for one process's rings; beyond this a size was mistyped.
const MAX_RING_MEMORY: u64 = 4 << 30;
/// With less than this, ordinary sessions would be held back.
const MIN_MEMORY: u64 = 8 << 20;
/// Deliveries of one message or task; each may cost a worker its life.
pub(super) const MAX_ATTEMPTS: u64 = 1000;
pub(super) const DEFAULT_ATTEMPTS: u32 = 3;
/// A worker that has handled more messages has lived long enough not to need the key.
const MAX_REQUESTS: u64 = 1 << 53;
/// The last hundred short events of some thousand groups.
const DEFAULT_HISTORY_MEMORY: u64 = 64 << 20;
/// Longer than a phone is in a tunnel, or a laptop asleep over a coffee.
const DEFAULT_HISTORY_TIMEOUT: Duration = Duration::from_secs(600);
const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(10);
const DEFAULT_START_TIMEOUT: Duration = Duration::from_secs(10);
/// A second is long for a handler that blocks all others, and short for a person who looks for the reason.
const DEFAULT_STALL_AFTER: Duration = Duration::from_secs(1);
/// No step of a gateway's loop takes a thousandth of it, even on a loaded machine.
const DEFAULT_KILL_AFTER: Duration = Duration::from_secs(30);
/// WebSocket close codes for the end of a server: RFC 6455 §7.4.1, and 1012 of IANA's registry.
const GOING_AWAY: u16 = 1001;
const SERVICE_RESTART: u16 = 1012;
/// There are two signs of life in it; with less, a single late one would cost a process its life.
const SHORTEST_KILL_AFTER: Duration = Duration::from_secs(1);

pub(super) fn engine(root: &Section<'_>, file: &Path, host: &Host) -> Result<Engine, Reported> {
    let section = root.read("engine", |field| {
        field.section("[engine]", "write [engine] and its keys below it")
    })?;
    let base = folder(file);
    let Some(section) = section else {
        return default_engine(root, file, host);
    };

    let run_dir = run_dir(&section, file, host);
    let gateway_loops = section
        .read("gateway_loops", |field| field.number(1..=MAX_LOOPS))
        .map(|loops| loops.unwrap_or(default_loops(host)));
    let ring_memory = section.read("ring_memory", |field| field.size());
    let ring_memory = ring_memory.and_then(|written| check_rings(&section, written, gateway_loops));
    let memory_limit = section.read("memory_limit", |field| memory_limit(&field));
    let history_memory = section.read("history_memory", |field| field.size());
    let history_timeout = section.read("history_timeout", |field| field.timeout());
    let user = section.read("user", |field| {
        account(&field, "user", host.is_root(), host.knows_user)
    });
    let group = section.read("group", |field| {
        account(&field, "group", host.is_root(), host.knows_group)
    });
    let gateway_user = section.read("gateway_user", |field| {
        account(&field, "user", host.is_root(), host.knows_user)
    });
    let stop_over = section.read("stop_over", |field| field.duration());
    let stop_code = section.read("stop_code", |field| stop_code(&field));
    let kill_after = section.read("kill_after", |field| kill_after(&field));
    let chroot = section.read("chroot", |field| chroot(&field, base, host));
    let rights = check_rights(&section, host, &user, &gateway_user);
    let log = section.read("log", |field| log(&field, base));
    let hooks = section.read("hooks", |field| hooks(&field, base));
    section.finish()?;
    rights?;

    Ok(Engine {
        run_dir: run_dir?,
        gateway_loops: gateway_loops?,
        ring_memory: ring_memory?,
        memory_limit: memory_limit?,
        history_memory: history_memory?.unwrap_or(DEFAULT_HISTORY_MEMORY),
        history_timeout: history_timeout?.unwrap_or(DEFAULT_HISTORY_TIMEOUT),
        user: user?,
        group: group?,
        gateway_user: gateway_user?,
        stop_over: stop_over?.unwrap_or_default(),
        stop_code: stop_code?.unwrap_or(GOING_AWAY),
        kill_after: kill_after?
            .or(Some(DEFAULT_KILL_AFTER))
            .filter(|after| !after.is_zero()),
        chroot: chroot?,
        log: log?.unwrap_or_else(default_log),
        hooks: hooks?.unwrap_or_default(),
    })
}

/// The defaults, without `[engine]`.
fn default_engine(root: &Section<'_>, file: &Path, host: &Host) -> Result<Engine, Reported> {
    warn_of_rights(root.report, host, None, None);
    let run_dir = host.default_run_dir(file);
    check_socket_path(root.report, 0..0, &run_dir)?;
    let gateway_loops = default_loops(host);
    Ok(Engine {
        run_dir,
        gateway_loops,
        ring_memory: default_ring_memory(gateway_loops),
        memory_limit: None,
        history_memory: DEFAULT_HISTORY_MEMORY,
        history_timeout: DEFAULT_HISTORY_TIMEOUT,
        user: None,
        group: None,
        gateway_user: None,
        stop_over: Duration::ZERO,
        stop_code: GOING_AWAY,
        kill_after: Some(DEFAULT_KILL_AFTER),
        chroot: None,
        log: default_log(),
        hooks: Hooks::default(),
    })
}

fn default_loops(host: &Host) -> u16 {
    host.cpus.min(MAX_LOOPS as u16)
}

fn run_dir(section: &Section<'_>, file: &Path, host: &Host) -> Result<PathBuf, Reported> {
    let base = folder(file);
    if let Some(written) = section.read("run_dir", |field| written_run_dir(&field, base))? {
        return Ok(written);
    }
    let run_dir = host.default_run_dir(file);
    check_socket_path(section.report, section.span.clone(), &run_dir)?;
    Ok(run_dir)
}

/// The folder that relative paths in a file begin at.
fn folder(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new("/"))
}

/// A written `run_dir`.
pub(super) fn written_run_dir(field: &Field<'_>, base: &Path) -> Result<PathBuf, Reported> {
    let run_dir = field.path(base)?;
    check_socket_path(field.report, field.value.span(), &run_dir)?;
    Ok(run_dir)
}

fn check_socket_path(
    report: &Report<'_>,
    span: std::ops::Range<usize>,
    run_dir: &Path,
) -> Result<(), Reported> {
    let length = run_dir.join(CONTROL_SOCKET).as_os_str().len();
    if length <= MAX_UNIX_PATH_BYTES {
        return Ok(());
    }
    let message = format!(
        "the control socket's path in {} has {length} bytes, and a socket's path may have {MAX_UNIX_PATH_BYTES}",
        run_dir.display()
    );
    Err(report.error(span, message, "set `run_dir` in [engine] to a shorter path"))
}

fn default_ring_memory(loops: u16) -> u64 {
    DEFAULT_RING_MEMORY.max(u64::from(loops) * DEFAULT_LOOP_MEMORY)
}

fn check_rings(
    section: &Section<'_>,
    written: Option<u64>,
    loops: Result<u16, Reported>,
) -> Result<u64, Reported> {
    let loops = loops?;
    let ring_memory = written.unwrap_or_else(|| default_ring_memory(loops));
    let least = u64::from(loops) * 2 * MIN_RING;
    let refuse = |message: String, hint: String| {
        Err(section
            .report
            .error(section.place("ring_memory"), message, hint))
    };
    if ring_memory < least {
        let rings = if loops == 1 {
            "1 gateway loop".to_owned()
        } else {
            format!("{loops} gateway loops")
        };
        return refuse(
            format!(
                "`ring_memory` is too small for {rings}: each has two rings, and a ring needs {} KiB",
                MIN_RING >> 10
            ),
            format!(
                "write at least \"{}KiB\", or fewer `gateway_loops`",
                least >> 10
            ),
        );
    }
    if ring_memory > MAX_RING_MEMORY {
        return refuse(
            "`ring_memory` is too large".into(),
            format!("write at most \"{}GiB\"", MAX_RING_MEMORY >> 30),
        );
    }
    Ok(ring_memory)
}

fn memory_limit(field: &Field<'_>) -> Result<u64, Reported> {
    let limit = field.size()?;
    if limit < MIN_MEMORY {
        return Err(field.refuse(
            "`memory_limit` is too small: a few sessions with one large message each would pass it",
            format!(
                "write at least \"{}MiB\", or leave it out",
                MIN_MEMORY >> 20
            ),
        ));
    }
    Ok(limit)
}

fn stop_code(field: &Field<'_>) -> Result<u16, Reported> {
    let code = field.number(0..=u64::from(u16::MAX))?;
    if [GOING_AWAY, SERVICE_RESTART].contains(&code) {
        return Ok(code);
    }
    Err(field.refuse(
        format!("`stop_code` is {code}"),
        "write 1001 (going away) or 1012 (service restart)",
    ))
}

/// Zero, or long enough for several signs of life.
fn kill_after(field: &Field<'_>) -> Result<Duration, Reported> {
    let after = field.duration()?;
    if after.is_zero() || after >= SHORTEST_KILL_AFTER {
        return Ok(after);
    }
    Err(field.refuse(
        format!("`{}` is shorter than {SHORTEST_KILL_AFTER:?}", field.key),
        "write a longer time, or \"0s\" to replace nothing that does not answer",
    ))
}

/// A user's or group's name. Without root it has no effect, and is not looked up: a configuration for the server should
/// also run on a developer's machine.
fn account(
    field: &Field<'_>,
    noun: &str,
    is_root: bool,
    known: fn(&str) -> bool,
) -> Result<String, Reported> {
    let name = field.text()?;
    if is_root && !known(name) {
        let hint = format!("create it, or write the name of a {noun} that exists here");
        return Err(field.refuse(format!("there is no {noun} {name:?}"), hint));
    }
    Ok(name.to_owned())
}

/// Like a user it has no effect without root, and is not checked then.
fn chroot(field: &Field<'_>, base: &Path, host: &Host) -> Result<PathBuf, Reported> {
    let path = field.path(base)?;
    if host.is_root() && !path.is_dir() {
        let message = format!("there is no folder {}", path.display());
        return Err(field.refuse(message, "make it, or name a folder that is there"));
    }
    Ok(path)
}

type Account = Result<Option<String>, Reported>;

fn check_rights(
    section: &Section<'_>,
    host: &Host,
    user: &Account,
    gateway_user: &Account,
) -> Result<(), Reported> {
    let without_user = [
        ("group", "`group` has no effect without `user`"),
        (
            "chroot",
            "`chroot` does not confine root: it needs a `user`",
        ),
    ];
    for (key, message) in without_user {
        if section.has(key) && !section.has("user") {
            let hint = format!("add `user`, or remove `{key}`");
            return Err(section.report.error(section.key_place(key), message, hint));
        }
    }
    let (Ok(user), Ok(gateway_user)) = (user, gateway_user) else {
        return Err(Reported);
    };
    if user.is_some() && user == gateway_user {
        let message = "`gateway_user` is the same as `user`: workers could take over the gateway";
        return Err(section.report.error(
            section.place("gateway_user"),
            message,
            "write two different users",
        ));
    }
    warn_of_rights(
        section.report,
        host,
        user.as_deref(),
        gateway_user.as_deref(),
    );
    Ok(())
}

fn warn_of_rights(
    report: &Report<'_>,
    host: &Host,
    user: Option<&str>,
    gateway_user: Option<&str>,
) {
    if !host.is_root() {
        let uid = host.uid;
        let names = if user.is_some() || gateway_user.is_some() {
            "; `user`, `group`, `gateway_user` and `chroot` have no effect"
        } else {
            ""
        };
        report.warn(format!("not started as root: all processes run as the user with number {uid}, without a boundary between them{names}"));
        return;
    }
    if user.is_none() {
        report.warn("the workers run as root: name a `user` for them in [engine]".into());
    }
    if gateway_user.is_none() {
        report.warn("the gateway runs as root: name a `gateway_user` for it in [engine]".into());
    }
}

fn log(field: &Field<'_>, base: &Path) -> Result<Log, Reported> {
    let section = field.section("[engine.log]", "write [engine.log] and its keys below it")?;
    let default = default_log();
    let format = section.read("format", |field| {
        field.choice(&[("pretty", LogFormat::Pretty), ("json", LogFormat::Json)])
    });
    let file = section.read("file", |field| field.path(base));
    let level = section.read("level", |field| level(&field));
    section.finish()?;
    Ok(Log {
        format: format?.unwrap_or(default.format),
        file: file?,
        level: level?.unwrap_or(default.level),
    })
}

fn default_log() -> Log {
    Log {
        format: LogFormat::Pretty,
        file: None,
        level: "info".into(),
    }
}

fn hooks(field: &Field<'_>, base: &Path) -> Result<Hooks, Reported> {
    let section = field.section(
        "[engine.hooks]",
        "write [engine.hooks] and its keys below it",
    )?;
    let hook = |key| section.read(key, |field| command(&field, base));
    let (started, stopping, stopped) = (hook("started"), hook("stopping"), hook("stopped"));
    let timeout = section.read("timeout", |field| field.timeout());
    section.finish()?;
    Ok(Hooks {
        started: started?,
        stopping: stopping?,
        stopped: stopped?,
        timeout: timeout?.unwrap_or(Hooks::default().timeout),
    })
}

const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

fn level(field: &Field<'_>) -> Result<String, Reported> {
    let level = field.text()?;
    let hint =
        "write off, error, warn, info, debug or trace; or by module, such as \"info,my_app=debug\"";
    // The filter takes any word for a module's name and would log all of "inof" and nothing else.
    let stray = level.split(',').map(str::trim).find(|part| {
        !part.contains(['=', '[']) && !LEVELS.contains(&part.to_ascii_lowercase().as_str())
    });
    if let Some(stray) = stray {
        return Err(field.refuse(format!("`level`: {stray:?} is no level"), hint));
    }
    match level.parse::<tracing_subscriber::EnvFilter>() {
        Ok(_) => Ok(level.to_owned()),
        Err(error) => Err(field.refuse(format!("`level`: {error}"), hint)),
    }
}

pub(super) fn workers(root: &Section<'_>, base: &Path, host: &Host) -> Result<Workers, Reported> {
    let default_count = host.cpus.min(MAX_PROCESSES as u16);
    let section = root.read("workers", |field| {
        field.section("[workers]", "write [workers] and its keys below it")
    })?;
    let Some(section) = section else {
        let (max_wait, start_timeout) = (DEFAULT_MAX_WAIT, DEFAULT_START_TIMEOUT);
        return Ok(Workers {
            count: default_count,
            max_wait,
            start_timeout,
            dispatch: Dispatch::Sticky,
            max_requests: None,
            stall_after: Some(DEFAULT_STALL_AFTER),
            wait_after: None,
            kill_after: None,
            cpu_affinity: CpuAffinity::Off,
            lua: None,
        });
    };
    let count = section.read("count", |field| field.number(0..=MAX_PROCESSES));
    let max_wait = section.read("max_wait", |field| field.duration());
    let start_timeout = section.read("start_timeout", |field| field.timeout());
    let dispatch = section.read("dispatch", |field| dispatch(&field));
    let max_requests = section.read("max_requests", |field| field.number(1..=MAX_REQUESTS));
    let stall_after = section.read("stall_after", |field| field.duration());
    let wait_after = section.read("wait_after", |field| field.duration());
    let kill_after = section.read("kill_after", |field| kill_after(&field));
    let cpu_affinity = section.read("cpu_affinity", |field| cpu_affinity(&field, host));
    let lua = lua(&section, base);
    section.finish()?;
    Ok(Workers {
        count: count?.unwrap_or(default_count),
        max_wait: max_wait?.unwrap_or(DEFAULT_MAX_WAIT),
        start_timeout: start_timeout?.unwrap_or(DEFAULT_START_TIMEOUT),
        dispatch: dispatch?.unwrap_or(Dispatch::Sticky),
        max_requests: max_requests?,
        stall_after: stall_after?
            .or(Some(DEFAULT_STALL_AFTER))
            .filter(|after| !after.is_zero()),
        wait_after: wait_after?.filter(|after| !after.is_zero()),
        kill_after: kill_after?.filter(|after| !after.is_zero()),
        cpu_affinity: cpu_affinity?.unwrap_or(CpuAffinity::Off),
        lua: lua?,
    })
}

pub(super) fn dispatch(field: &Field<'_>) -> Result<Dispatch, Reported> {
    field.choice(&[
        ("sticky", Dispatch::Sticky),
        ("round-robin", Dispatch::RoundRobin),
        ("least-busy", Dispatch::LeastBusy),
        ("ip-hash", Dispatch::IpHash),
        ("key", Dispatch::Key),
    ])
}

pub(super) fn tasks(root: &Section<'_>) -> Result<Tasks, Reported> {
    let section = root.read("tasks", |field| {
        field.section("[tasks]", "write [tasks] and its keys below it")
    })?;
    let Some(section) = section else {
        return Ok(Tasks {
            count: 0,
            attempts: DEFAULT_ATTEMPTS,
            max_requests: None,
            stall_after: None,
            wait_after: None,
            kill_after: None,
        });
    };
    let count = section.read("count", |field| field.number(0..=MAX_PROCESSES));
    let attempts = section.read("attempts", |field| field.number(1..=MAX_ATTEMPTS));
    let max_requests = section.read("max_requests", |field| field.number(1..=MAX_REQUESTS));
    let stall_after = section.read("stall_after", |field| field.duration());
    let wait_after = section.read("wait_after", |field| field.duration());
    let kill_after = section.read("kill_after", |field| kill_after(&field));
    section.finish()?;
    Ok(Tasks {
        count: count?.unwrap_or(0),
        attempts: attempts?.unwrap_or(DEFAULT_ATTEMPTS),
        max_requests: max_requests?,
        stall_after: stall_after?.filter(|after| !after.is_zero()),
        wait_after: wait_after?.filter(|after| !after.is_zero()),
        kill_after: kill_after?.filter(|after| !after.is_zero()),
    })
}

pub(super) fn helpers(root: &Section<'_>, base: &Path) -> Result<Vec<Helper>, Reported> {
    const HINT: &str = "write [[helpers]] with double brackets, once for each helper";
    let Some(fields) = root.read("helpers", |field| field.array(HINT))? else {
        return Ok(Vec::new());
    };
    let mut names = TakenNames::default();
    let helpers: Vec<_> = fields
        .map(|field| helper(&field, base, &mut names))
        .collect();
    helpers.into_iter().collect()
}

fn helper(field: &Field<'_>, base: &Path, names: &mut TakenNames) -> Result<Helper, Reported> {
    let section = field.section("[[helpers]]", "write [[helpers]] and its keys below it")?;
    let name = section.require(
        "name",
        "write name = \"…\", which logs and `status` show",
        |field| {
            let name = field.text()?.to_owned();
            names
                .take(section.report, field.value.span(), "helper", &name)
                .map(|()| name)
        },
    );
    let command = section.require("command", COMMAND_HINT, |field| command(&field, base));
    section.finish()?;
    Ok(Helper {
        name: name?,
        task: HelperTask::Command(command?),
    })
}

const COMMAND_HINT: &str =
    r#"write the program and its arguments: command = ["./feeder", "--fast"]"#;

fn command(field: &Field<'_>, base: &Path) -> Result<Vec<String>, Reported> {
    let words: Vec<_> = field
        .array(COMMAND_HINT)?
        .map(|word| argument(&word))
        .collect();
    let mut words = words.into_iter().collect::<Result<Vec<_>, _>>()?;
    let Some(program) = words.first_mut().filter(|program| !program.is_empty()) else {
        return Err(field.refuse(format!("`{}` names no program", field.key), COMMAND_HINT));
    };
    // A bare name is searched in $PATH, as a shell does.
    if program.contains('/') {
        *program = base.join(&*program).to_string_lossy().into_owned();
    }
    Ok(words)
}

fn argument(word: &Field<'_>) -> Result<String, Reported> {
    let text = word.string()?;
    if text.contains('\0') {
        return Err(word.refuse("an argument cannot contain a NUL character", "remove it"));
    }
    Ok(text.to_owned())
}
