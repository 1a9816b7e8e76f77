//! `doctor`: whether this machine is fit for a configuration, and what to set.

mod machine;

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use moorline_engine::admin::{self, Urgency};
use moorline_engine::config::{Config, Destination, Listener};
use moorline_engine::supervisor::{self, certificates::CertificateEnd};
use moorline_engine::{Descriptors, RelayPipes, may_use_other_addresses};
use moorline_net::Address;
use serde_json::{Value, json};

use super::output::tell;
use machine::Machine;

/// What an idle session takes at most: in the gateway (see the guide's page about memory) and in the kernel, for a TCP socket with its
/// file.
const GATEWAY_BYTES: u64 = 600;
const TLS_BYTES: u64 = 4096;
const KERNEL_BYTES: u64 = 5120;
/// Connections that a listening socket may keep until they are accepted.
const BACKLOG: u64 = 4096;
/// What the engine is tested with.
const OLDEST_KERNEL: (u64, u64) = (5, 10);

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    Fine,
    /// It may fail later.
    Warning,
    /// It fails.
    Wrong,
}

/// What was looked at, and what to do.
#[derive(Debug)]
struct Finding {
    severity: Severity,
    what: &'static str,
    found: String,
    hint: Option<String>,
}

impl Finding {
    fn fine(what: &'static str, found: String) -> Self {
        Self {
            severity: Severity::Fine,
            what,
            found,
            hint: None,
        }
    }

    fn of(severity: Severity, what: &'static str, found: String, hint: String) -> Self {
        Self {
            severity,
            what,
            found,
            hint: Some(hint),
        }
    }
}

/// Prints all findings. The exit code is 1 if something is wrong.
pub(super) fn doctor(config: &Config, warnings: &[String]) -> ExitCode {
    let machine = Machine::current();
    let mut findings = vec![
        kernel(&machine),
        descriptors(config, &machine),
        memory(config, &machine),
    ];
    findings.push(backlog(&machine));
    findings.extend(tracked(config, &machine));
    findings.extend(ports(config, &machine));
    findings.extend(relaying(config));
    findings.extend(certificates(config));
    findings.extend(disks(config));
    let configured = warnings.iter().map(|warning| Finding {
        severity: Severity::Warning,
        what: "configuration",
        found: warning.clone(),
        hint: None,
    });
    findings.extend(configured);
    for Finding {
        severity,
        what,
        found,
        hint,
    } in &findings
    {
        let mark = match severity {
            Severity::Fine => "ok     ",
            Severity::Warning => "warning",
            Severity::Wrong => "WRONG  ",
        };
        tell(format_args!("{mark}  {what}: {found}"));
        if let Some(hint) = hint {
            tell(format_args!("         hint: {hint}"));
        }
    }
    let worst = findings.iter().map(|it| it.severity).max();
    match worst {
        Some(Severity::Wrong) => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

/// The sessions and relays that all listeners may have together.
fn sessions(config: &Config) -> u64 {
    let listeners = config.listeners.iter();
    let with_sockets = listeners.filter(|it| !matches!(it.address, Address::Udp(_)));
    with_sockets.map(|it| it.max_sessions).sum()
}

/// Relays have a second socket.
fn sockets(config: &Config) -> u64 {
    sessions(config) + relays(config).map(|it| it.max_sessions).sum::<u64>()
}

/// The listeners that connect to peers.
fn relays(config: &Config) -> impl Iterator<Item = &Listener> {
    let has_peers = |it: &&Listener| {
        !matches!(it.destination, None | Some(Destination::Return(_)))
            && !matches!(it.address, Address::Udp(_))
    };
    config.listeners.iter().filter(has_peers)
}

fn kernel(machine: &Machine) -> Finding {
    let (major, minor) = OLDEST_KERNEL;
    let found = format!("Linux {}", machine.release);
    match machine.version() {
        Some(version) if version < OLDEST_KERNEL => {
            let hint = format!("the engine is tested with {major}.{minor} and newer");
            Finding::of(Severity::Warning, "kernel", found, hint)
        }
        _ => Finding::fine("kernel", found),
    }
}

fn descriptors(config: &Config, machine: &Machine) -> Finding {
    let needed = Descriptors::of(config);
    let wanted = sockets(config);
    let all = needed.gateway_keeps.saturating_add(wanted);
    let found = format!(
        "{wanted} sockets of `max_sessions` and {} of the engine's own are {all}; the hard limit is {}",
        needed.gateway_keeps, needed.limit
    );
    let most = machine.most_files.unwrap_or(u64::MAX);
    if needed.gateway_starts.max(needed.supervisor) > needed.limit {
        let hint =
            format!("raise it: LimitNOFILE={all} in the unit, or `ulimit -Hn {all}` as root");
        Finding::of(Severity::Wrong, "open files", found, hint)
    } else if all > needed.limit {
        let hint = match all > most {
            true => format!(
                "raise fs.nr_open to {all} first, then LimitNOFILE={all} in the unit; or lower `max_sessions`"
            ),
            false => format!(
                "raise it: LimitNOFILE={all} in the unit, or `ulimit -Hn {all}` as root; or lower `max_sessions`. Beyond it accepting pauses"
            ),
        };
        Finding::of(Severity::Warning, "open files", found, hint)
    } else {
        Finding::fine("open files", found)
    }
}

fn memory(config: &Config, machine: &Machine) -> Finding {
    let encrypted = config.listeners.iter().filter(|it| it.tls.is_some());
    let encrypted: u64 = encrypted.map(|it| it.max_sessions).sum();
    let idle = sessions(config)
        .saturating_mul(GATEWAY_BYTES)
        .saturating_add(encrypted.saturating_mul(TLS_BYTES))
        .saturating_add(sockets(config).saturating_mul(KERNEL_BYTES));
    let found = format!(
        "{} sessions that are idle take about {}, {} of it in the kernel; {} are available",
        sessions(config),
        mebibytes(idle),
        mebibytes(sockets(config).saturating_mul(KERNEL_BYTES)),
        machine
            .available
            .map_or("an unknown amount".to_owned(), mebibytes)
    );
    let limit = config.engine.memory_limit;
    match machine.available {
        Some(available) if idle > available => {
            let hint = "lower `max_sessions`, or take a larger machine".to_owned();
            Finding::of(Severity::Warning, "memory", found, hint)
        }
        Some(available) if limit.is_some_and(|limit| limit > available) => {
            let hint = "`memory_limit` is more than what is available: lower it, so that sessions are held back before the kernel ends the gateway".to_owned();
            Finding::of(Severity::Warning, "memory", found, hint)
        }
        Some(available) if limit.is_none() => {
            let hint = format!(
                "write memory_limit = \"{}MiB\" in [engine], which is half of it: slow clients cannot fill the machine then",
                (available / 2) >> 20
            );
            Finding::of(Severity::Warning, "memory", found, hint)
        }
        _ => Finding::fine("memory", found),
    }
}

fn backlog(machine: &Machine) -> Finding {
    let found = |most: u64| {
        format!("net.core.somaxconn is {most}: as many connections wait until they are accepted")
    };
    match machine.longest_backlog {
        Some(most) if most < BACKLOG => {
            let hint = format!(
                "raise it: sysctl -w net.core.somaxconn={BACKLOG}. All clients may come back at once"
            );
            Finding::of(Severity::Warning, "backlog", found(most), hint)
        }
        Some(most) => Finding::fine("backlog", found(most)),
        None => Finding::fine("backlog", "net.core.somaxconn is not known".to_owned()),
    }
}

/// A firewall that keeps connections in a table.
fn tracked(config: &Config, machine: &Machine) -> Option<Finding> {
    let most = machine.most_tracked?;
    let wanted = sockets(config);
    let found =
        format!("the firewall keeps {most} connections; `max_sessions` allows {wanted} sockets");
    Some(match wanted > most {
        true => {
            let hint = format!(
                "raise it: sysctl -w net.netfilter.nf_conntrack_max={wanted}, or do not track these ports"
            );
            Finding::of(Severity::Warning, "firewall", found, hint)
        }
        false => Finding::fine("firewall", found),
    })
}

/// Each connection to one peer needs a port of this machine.
fn ports(config: &Config, machine: &Machine) -> Option<Finding> {
    let most = relays(config).map(|it| it.max_sessions).max()?;
    let ports = machine.own_ports?;
    let found = format!(
        "net.ipv4.ip_local_port_range has {ports} ports, one for each connection to a peer; a listener may have {most}"
    );
    Some(match most > ports {
        true => {
            let hint = "widen it: sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"; use several peers, or several addresses (`bind`)".to_owned();
            Finding::of(Severity::Warning, "ports", found, hint)
        }
        false => Finding::fine("ports", found),
    })
}

/// What relays need of the kernel, as `check` tells it, too.
pub(super) fn tell_relaying(config: &Config) {
    for Finding { found, hint, .. } in relaying(config) {
        match hint {
            Some(hint) => tell(format_args!("warning: {found}: {hint}")),
            None => tell(found),
        }
    }
}

/// What relays need of the kernel.
fn relaying(config: &Config) -> impl Iterator<Item = Finding> {
    pipes(config).into_iter().chain(rights(config))
}

fn pipes(config: &Config) -> Option<Finding> {
    let pipes = RelayPipes::of(config)?;
    Some(match pipes.fit() {
        true => Finding::fine("pipes", pipes.to_string()),
        false => {
            let hint =
                "raise fs.pipe-user-pages-soft, or lower `gateway_loops`; relays beyond that copy"
                    .to_owned();
            Finding::of(Severity::Warning, "pipes", pipes.to_string(), hint)
        }
    })
}

fn rights(config: &Config) -> Option<Finding> {
    let upstream = config.transparent_upstream()?;
    let found = format!("`bind` of upstream {:?} is transparent", upstream.name);
    Some(match may_use_other_addresses() {
        true => Finding::fine("rights", found),
        false => {
            let hint = "the gateway needs CAP_NET_ADMIN or CAP_NET_RAW, and this user has neither"
                .to_owned();
            Finding::of(Severity::Wrong, "rights", found, hint)
        }
    })
}

fn certificates(config: &Config) -> Vec<Finding> {
    let ends = supervisor::certificates::ends(config);
    let found = ends.into_iter().map(|it| {
        let days = it.ends_at.saturating_sub(now()) / 86_400;
        let CertificateEnd {
            listener,
            certificate,
            ..
        } = &it;
        let fine = format!("{certificate} of listener {listener} ends in {days} days");
        by_rules("certificate", json!({ "certificates": [it] }), fine)
    });
    found.collect()
}

fn disks(config: &Config) -> Vec<Finding> {
    let rooms = supervisor::disks::rooms(config);
    let found = rooms.into_iter().map(|it| {
        let fine = format!(
            "{} has {} of {} left ({})",
            it.what,
            mebibytes(it.free),
            mebibytes(it.size),
            it.path.display()
        );
        by_rules("disk", json!({ "disks": [it] }), fine)
    });
    found.collect()
}

/// What `status` would say of an engine with this state: the rules are there. `fine`: what is told if that is nothing.
fn by_rules(what: &'static str, mut state: Value, fine: String) -> Finding {
    state["supervisor"] = json!({ "now": now() });
    let found = admin::findings(&state, &[]).into_iter().next();
    found.map_or(Finding::fine(what, fine), |it| {
        let severity = match it.urgency {
            Urgency::Page => Severity::Wrong,
            Urgency::Ticket => Severity::Warning,
        };
        Finding::of(severity, what, it.what, it.remedy)
    })
}

/// In seconds since the Unix epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn mebibytes(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{} KiB", bytes.div_ceil(1024)),
        mebibytes => format!("{mebibytes} MiB"),
    }
}
