//! `doctor`: whether this machine is fit for a configuration, and what to set.

mod machine;

use std::process::ExitCode;

use moorline_engine::config::{Config, Destination, Listener};
use moorline_engine::{Descriptors, RelayPipes, may_use_other_addresses};
use moorline_net::Address;
use moorline_net::tls::rustls::pki_types::CertificateDer;
use moorline_net::tls::rustls::pki_types::pem::PemObject;
use moorline_net::tls::server::ServerCertificate;
use moorline_net::tls::{CertificateFacts, Pem};

use super::output::tell;
use machine::Machine;

/// What an idle session takes at most: in the gateway (see the guide's page about memory) and in the kernel, for a TCP socket with its
/// file.
const GATEWAY_BYTES: u64 = 600;
const TLS_BYTES: u64 = 4096;
const KERNEL_BYTES: u64 = 5120;
/// Connections that a listening socket may keep until they are accepted.
const BACKLOG: u64 = 4096;
/// A certificate with fewer days is renewed now.
const SOON: u64 = 14;
/// A disk with less room is nearly full.
const LEAST_ROOM: u64 = 256 << 20;
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
    findings.extend(pipes(config));
    findings.extend(rights(config));
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
            let hint = "the gateway needs CAP_NET_ADMIN or CAP_NET_RAW".to_owned();
            Finding::of(Severity::Wrong, "rights", found, hint)
        }
    })
}

fn certificates(config: &Config) -> Vec<Finding> {
    let listeners = config.listeners.iter();
    let options = listeners.filter_map(|it| Some((&it.name, it.tls.as_ref()?)));
    options
        .flat_map(|(name, options)| {
            let certificates = options.certificates.iter();
            certificates.map(move |it| certificate(name, it))
        })
        .collect()
}

fn certificate(listener: &str, shown: &ServerCertificate) -> Finding {
    const WHAT: &str = "certificate";
    let (place, read) = match &shown.certificate {
        Pem::File(path) => (
            path.display().to_string(),
            CertificateDer::from_pem_file(path),
        ),
        Pem::Text { pem } => (
            "in the configuration".to_owned(),
            CertificateDer::from_pem_slice(pem.as_bytes()),
        ),
        _ => return Finding::fine(WHAT, format!("that of listener {listener:?} is not known")),
    };
    let Ok(der) = read else {
        let found = format!("{place} of listener {listener:?} cannot be read");
        let hint = "`check` says why".to_owned();
        return Finding::of(Severity::Wrong, WHAT, found, hint);
    };
    let Some(facts) = CertificateFacts::read(&der) else {
        let found = format!("{place} of listener {listener:?} is malformed");
        let hint = "`openssl x509 -text -in FILE` shows a right one".to_owned();
        return Finding::of(Severity::Wrong, WHAT, found, hint);
    };
    let found = format!(
        "{place} of listener {listener:?} ends in {} days ({})",
        facts.days(),
        facts.end()
    );
    let renew = || "renew it, then `reload`: a reload reads it again".to_owned();
    match facts.days() {
        0 => Finding::of(Severity::Wrong, WHAT, found, renew()),
        1..SOON => Finding::of(Severity::Warning, WHAT, found, renew()),
        _ => Finding::fine(WHAT, found),
    }
}

fn disks(config: &Config) -> Vec<Finding> {
    let log = config.engine.log.file.as_deref();
    let places = [
        Some(("run_dir", config.engine.run_dir.as_path())),
        log.map(|it| ("log", it)),
    ];
    places
        .into_iter()
        .flatten()
        .filter_map(|(what, path)| {
            let room = machine::room(path)?;
            let found = format!(
                "{what} has {} of room ({})",
                mebibytes(room),
                path.display()
            );
            Some(match room < LEAST_ROOM {
                true => {
                    let hint = "make room: a log that cannot be written loses lines".to_owned();
                    Finding::of(Severity::Warning, "disk", found, hint)
                }
                false => Finding::fine("disk", found),
            })
        })
        .collect()
}

fn mebibytes(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{} KiB", bytes.div_ceil(1024)),
        mebibytes => format!("{mebibytes} MiB"),
    }
}
