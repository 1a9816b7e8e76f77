//! `resolver` of an upstream: which servers know the names of its peers, and how long answers hold.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::Reported;
use super::walk::{Field, Section};

/// The port of DNS.
const PORT: u16 = 53;
/// As long as nginx waits.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// Any more are a slip: each is asked after the one before it has failed.
const MOST_SERVERS: usize = 16;

const HINT: &str =
    r#"write resolver = { servers = ["10.0.0.1:53"], valid = "10s", timeout = "5s" }"#;

/// Which servers know the names of peers, and how long their answers hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolverRules {
    /// DNS servers. Empty: those of `/etc/resolv.conf`, after `/etc/hosts`.
    pub servers: Vec<SocketAddr>,
    /// How long an answer holds. Default: as long as it says.
    pub valid: Option<Duration>,
    /// How long a look-up may take. Default 30 s.
    pub timeout: Duration,
    /// Whether IPv4 addresses are asked for.
    pub ipv4: bool,
    /// Whether IPv6 addresses are.
    pub ipv6: bool,
}

/// Reads the key of an upstream.
pub(super) fn resolver(field: &Field<'_>) -> Result<ResolverRules, Reported> {
    let section = field.section("`resolver`", HINT)?;
    let servers = section.read("servers", |field| servers(&field));
    let valid = section.read("valid", |field| field.timeout());
    let timeout = section.read("timeout", |field| field.timeout());
    let ipv4 = section.read("ipv4", |field| field.flag());
    let ipv6 = section.read("ipv6", |field| field.flag());
    let families = check_families(&section, ipv4.as_ref().ok(), ipv6.as_ref().ok());
    section.finish()?;
    families?;
    Ok(ResolverRules {
        servers: servers?.unwrap_or_default(),
        valid: valid?,
        timeout: timeout?.unwrap_or(DEFAULT_TIMEOUT),
        ipv4: ipv4?.unwrap_or(true),
        ipv6: ipv6?.unwrap_or(true),
    })
}

fn check_families(
    section: &Section<'_>,
    ipv4: Option<&Option<bool>>,
    ipv6: Option<&Option<bool>>,
) -> Result<(), Reported> {
    if ipv4 != Some(&Some(false)) || ipv6 != Some(&Some(false)) {
        return Ok(());
    }
    Err(section.report.error(
        section.place("ipv6"),
        "`ipv4` and `ipv6` are both false: no name would have an address",
        "leave one of them out",
    ))
}

fn servers(field: &Field<'_>) -> Result<Vec<SocketAddr>, Reported> {
    let fields = field.array(HINT)?;
    if fields.len() == 0 || fields.len() > MOST_SERVERS {
        let message = format!("`servers` has {} entries", fields.len());
        return Err(field.refuse(
            message,
            format!("write 1 to {MOST_SERVERS}, or leave it out"),
        ));
    }
    let servers: Vec<_> = fields.map(|field| server(&field)).collect();
    servers.into_iter().collect()
}

fn server(field: &Field<'_>) -> Result<SocketAddr, Reported> {
    let text = field.text()?;
    let alone = || Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, PORT));
    let server: Option<SocketAddr> = text.parse().ok().or_else(alone);
    server.filter(|server| server.port() != 0).ok_or_else(|| {
        field.refuse(
            format!("`servers`: {text:?} is no address of a DNS server"),
            r#"write "10.0.0.1", "10.0.0.1:53" or "[2001:db8::1]:53""#,
        )
    })
}
