//! Every keyword that may stand in a section, and what becomes of it.

use super::lines::{Line, Section};
use crate::note::Report;

/// What becomes of a line.
#[derive(Debug, Clone, Copy)]
enum KeywordFate {
    Imported,
    /// It has no meaning here; the remark says why.
    Ignored(&'static str),
    /// It cannot be expressed; the error says why.
    Refused(&'static str),
}

use KeywordFate::{Ignored, Imported, Refused};

const LOGS: &str = "each relay leaves a line in the log";
const HTTP: &str = "it belongs to HTTP, and only TCP is imported";
const OWN: &str = "Moorline has processes of its own";

/// Keywords of `global` that change what is relayed. The others have no effect, and a remark says so.
const GLOBAL_REFUSED: &[&str] = &["lua-load", "lua-load-per-thread", "module-load"];

/// Keywords of `global` that change lines with TLS elsewhere.
const GLOBAL_TLS: &[(&str, &[&str])] = &[
    ("ssl-default-bind-options", &["bind"]),
    (
        "ssl-default-server-options",
        &["server", "server-template", "default-server"],
    ),
    (
        "ssl-server-verify",
        &["server", "server-template", "default-server"],
    ),
];
/// Keywords of `global` that are read elsewhere.
const GLOBAL_IMPORTED: &[&str] = &["crt-base", "ca-base"];

const PROXY: &[(&str, KeywordFate)] = &[
    ("mode", Imported),
    ("bind", Imported),
    ("server", Imported),
    ("server-template", Imported),
    ("default-server", Imported),
    ("balance", Imported),
    ("hash-type", Imported),
    ("default_backend", Imported),
    ("maxconn", Imported),
    ("retries", Imported),
    ("rate-limit", Imported),
    ("source", Imported),
    ("disabled", Imported),
    ("enabled", Imported),
    ("timeout client", Imported),
    ("timeout server", Imported),
    ("timeout tunnel", Imported),
    ("timeout connect", Imported),
    ("timeout check", Imported),
    ("tcp-check", Imported),
    ("acl", Imported),
    ("use_backend", Imported),
    ("tcp-request connection", Imported),
    ("tcp-request session", Imported),
    ("tcp-request content", Imported),
    ("tcp-request inspect-delay", Imported),
    ("option tcp-check", Imported),
    ("option redis-check", Imported),
    ("option allbackups", Imported),
    ("option redispatch", Ignored("another peer is always asked")),
    (
        "timeout queue",
        Ignored("connections do not wait for a peer"),
    ),
    (
        "timeout client-fin",
        Ignored("`idle_timeout` holds for the ends, too"),
    ),
    (
        "timeout server-fin",
        Ignored("`idle_timeout` holds for the ends, too"),
    ),
    ("timeout http-request", Ignored(HTTP)),
    ("timeout http-keep-alive", Ignored(HTTP)),
    ("timeout tarpit", Ignored(HTTP)),
    ("option tcplog", Ignored(LOGS)),
    ("option httplog", Ignored(LOGS)),
    ("option dontlognull", Ignored(LOGS)),
    ("option dontlog-normal", Ignored(LOGS)),
    ("option logasap", Ignored(LOGS)),
    ("option log-separate-errors", Ignored(LOGS)),
    (
        "option log-health-checks",
        Ignored("changes of health are always logged"),
    ),
    ("option tcpka", Ignored("see `tcp_keepalive`, which is on")),
    (
        "option clitcpka",
        Ignored("see `tcp_keepalive`, which is on"),
    ),
    (
        "option srvtcpka",
        Ignored("a silent peer is found by `idle_timeout`"),
    ),
    ("option contstats", Ignored("counters are always current")),
    (
        "option nolinger",
        Ignored("sockets close without lingering"),
    ),
    (
        "option abortonclose",
        Ignored("a connection whose client has left is not passed on"),
    ),
    ("option persist", Ignored("it belongs to cookies")),
    ("option socket-stats", Ignored("see `moorline status`")),
    (
        "option splice-auto",
        Ignored("bulk goes from socket to socket within the kernel"),
    ),
    (
        "option splice-request",
        Ignored("bulk goes from socket to socket within the kernel"),
    ),
    (
        "option splice-response",
        Ignored("bulk goes from socket to socket within the kernel"),
    ),
    ("option tcp-smart-accept", Ignored("it is for HTTP")),
    ("option tcp-smart-connect", Ignored("it is for HTTP")),
    ("option http-server-close", Ignored(HTTP)),
    ("option httpclose", Ignored(HTTP)),
    ("option http-keep-alive", Ignored(HTTP)),
    ("option forwardfor", Ignored(HTTP)),
    (
        "option spop-check",
        Refused("no check of Moorline speaks SPOP"),
    ),
    (
        "option httpchk",
        Refused(
            "checks of HTTP are not there: write `option tcp-check` with `tcp-check send` and `expect`",
        ),
    ),
    (
        "option ssl-hello-chk",
        Refused("write `check` alone, which connects, or `option tcp-check`"),
    ),
    (
        "option smtpchk",
        Refused("write `option tcp-check` and `tcp-check expect string \"220 \"`"),
    ),
    (
        "option mysql-check",
        Refused("write `check` alone, which connects, or `option tcp-check`"),
    ),
    (
        "option pgsql-check",
        Refused("write `check` alone, which connects, or `option tcp-check`"),
    ),
    (
        "option ldap-check",
        Refused("write `check` alone, which connects, or `option tcp-check`"),
    ),
    ("option external-check", Refused("checks run no programs")),
    (
        "option transparent",
        Refused("peers are those of the section"),
    ),
    ("log", Ignored(LOGS)),
    ("log-format", Ignored(LOGS)),
    ("log-tag", Ignored(LOGS)),
    ("description", Ignored("it is a comment")),
    ("id", Ignored("it is for statistics")),
    ("guid", Ignored("it is for statistics")),
    ("backlog", Ignored("the system's largest backlog is taken")),
    ("fullconn", Ignored("`max_connections` of a peer is fixed")),
    ("bind-process", Ignored(OWN)),
    ("grace", Ignored("see `max_wait` of [workers]")),
    ("errorfile", Ignored(HTTP)),
    ("errorloc", Ignored(HTTP)),
    (
        "stats",
        Ignored("see `moorline upstreams` and `moorline status`"),
    ),
    (
        "load-server-state-from-file",
        Ignored("a reload keeps the state of peers"),
    ),
    ("email-alert", Ignored("changes of health are logged")),
    ("external-check", Refused("checks run no programs")),
    ("dispatch", Refused("write `server`")),
    ("transparent", Refused("peers are those of the section")),
    ("cookie", Refused(HTTP)),
    ("http-request", Refused(HTTP)),
    ("http-response", Refused(HTTP)),
    ("http-after-response", Refused(HTTP)),
    ("http-check", Refused(HTTP)),
    ("http-reuse", Ignored(HTTP)),
    ("filter", Refused("Moorline has no filters")),
    (
        "stick-table",
        Refused("write `balance source`, which keeps a client with a peer"),
    ),
    (
        "stick",
        Refused("write `balance source`, which keeps a client with a peer"),
    ),
    (
        "tcp-response",
        Refused("what peers send is relayed as it comes"),
    ),
];

/// Says of each line of a section that is not imported what becomes of it.
pub(super) fn check(section: &Section, report: &mut Report) {
    match section.kind() {
        "global" => {
            for line in &section.lines {
                check_global(line, report);
            }
        }
        "defaults" | "frontend" | "backend" | "listen" => {
            for line in &section.lines {
                let is_front = matches!(section.kind(), "frontend" | "listen");
                if line.word(0) == "tcp-request" && !is_front {
                    line.refuse(report, "is imported in a `frontend` or `listen` only");
                    continue;
                }
                check_line(line, report);
            }
        }
        "peers" | "mailers" | "userlist" | "cache" | "http-errors" | "ring" | "traces" => {
            let why = "has no effect: what uses it is not imported";
            report.remark(&section.head.place, format!("`{}` {why}", section.kind()));
        }
        "resolvers" => {}
        kind => {
            let message = format!("a section `{kind}` is not imported by this version");
            report.error(&section.head.place, message);
        }
    }
}

/// Refuses what is said once for lines with TLS in other sections, if there are some.
pub(super) fn check_global_tls(sections: &[Section], report: &mut Report) {
    let (global, others): (Vec<_>, Vec<_>) = sections.iter().partition(|it| it.kind() == "global");
    let others: Vec<&Line> = others.iter().flat_map(|it| &it.lines).collect();
    for line in global.iter().flat_map(|it| &it.lines) {
        let known = GLOBAL_TLS.iter().find(|(name, _)| line.word(0) == *name);
        let Some((_, kinds)) = known else {
            continue;
        };
        let is_changed =
            |it: &&Line| kinds.contains(&it.word(0)) && it.words.iter().any(|it| it == "ssl");
        if let Some(changed) = others.iter().find(|it| is_changed(it)) {
            let at = changed.place.line;
            line.refuse(
                report,
                format!("changes line {at}: write it there, and leave it out here"),
            );
        }
    }
}

fn check_global(line: &Line, report: &mut Report) {
    let name = line.name();
    if GLOBAL_REFUSED.contains(&&name[..]) {
        line.refuse(report, "cannot be expressed: Moorline loads no code");
        return;
    }
    if GLOBAL_IMPORTED.contains(&&name[..]) {
        return;
    }
    report.remark(
        &line.place,
        format!("`{name}` of global has no effect: {OWN}"),
    );
}

fn check_line(line: &Line, report: &mut Report) {
    let written = line.name();
    let name = match (line.word(0), line.words.len()) {
        ("no", 2..) => match line.word(1) {
            topic @ ("option" | "timeout") => format!("{topic} {}", line.word(2)),
            other => other.to_owned(),
        },
        ("tcp-check" | "tcp-response", _) => line.word(0).to_owned(),
        _ => written.clone(),
    };
    match PROXY.iter().find(|(known, _)| *known == name) {
        Some((_, Imported)) => {}
        Some((_, Ignored(why))) => {
            report.remark(&line.place, format!("`{written}` has no effect: {why}"));
        }
        Some((_, Refused(why))) => {
            line.refuse(report, format!("cannot be expressed: {why}"));
        }
        None => {
            line.refuse(report, "is not imported by this version");
        }
    }
}
