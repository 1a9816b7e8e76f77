//! Look-ups of the names of peers: which servers are asked, and what comes of it.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use moorline_config::ResolverRules;
use moorline_net::HostPort;
use moorline_net::resolve::{
    Answer, Families, HickoryResolver, Lookups, ResolveError, Resolver, ServiceServer, system,
};
use moorline_proxy::Found;
use rustc_hash::FxHashMap;
use tokio::task::JoinSet;

use crate::upstreams::LookedUp;

/// How long an answer holds whose source does not say.
const TTL: Duration = Duration::from_secs(30);
/// Names are looked up again no sooner than this, and no later than that, whatever their sources say.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);
/// How soon a name that could not be resolved is looked up again.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// How long the servers of the system may take to say for how long an answer holds.
const TTL_TIMEOUT: Duration = Duration::from_secs(5);
/// The shortest time for which an answer counts as valid, whatever the configuration says.
const SHORTEST_VALID: Duration = Duration::from_millis(10);
/// Resolvers that are kept: each is a thread.
const MOST_KEPT: usize = 32;
/// Servers of one service whose names are looked up.
const MOST_SERVERS: usize = 256;

/// The resolvers of DNS, by the servers that they ask. Those that ask the servers of the system have an empty list.
#[derive(Debug, Default)]
pub(super) struct Resolvers {
    kept: RefCell<FxHashMap<Vec<SocketAddr>, HickoryResolver>>,
    /// Says for how long the answers of the system's resolver hold, which does not.
    ttls: RefCell<Option<HickoryResolver>>,
}

/// What DNS says, and for how long it holds.
struct Said {
    looked_up: LookedUp,
    ttl: Option<Duration>,
}

impl Resolvers {
    /// Looks a name up by the rules of its upstream. Returns the answer, and the time until the next look-up.
    pub(super) async fn look_up(
        &self,
        rules: Option<ResolverRules>,
        name: &HostPort,
    ) -> (LookedUp, Duration) {
        let Some(rules) = rules.or_else(|| (name.port == 0).then(system_rules)) else {
            return said_by_system(ask_system(name).await);
        };
        let looking = self.ask(&rules, name);
        let said = match tokio::time::timeout(rules.timeout, looking).await {
            Ok(said) => said,
            Err(_) => Said::failed(format!("there was no answer within {:?}", rules.timeout)),
        };
        let valid = rules.valid.map(|valid| valid.max(SHORTEST_VALID));
        let ttl = said.ttl.unwrap_or(TTL).clamp(SHORTEST, LONGEST);
        let again = match said.looked_up {
            LookedUp::Failed(_) => AFTER_FAILURE.min(valid.unwrap_or(AFTER_FAILURE)),
            LookedUp::Found(_) => valid.unwrap_or(ttl),
            // A name that is there again is not to be missed for long.
            LookedUp::Vanished => valid.unwrap_or(ttl.min(AFTER_FAILURE)),
        };
        (said.looked_up, again)
    }

    /// How long an answer of the system's resolver holds, as its servers say. `None`: they do not know these addresses, which
    /// come from `/etc/hosts` or elsewhere.
    pub(super) async fn time_to_live(&self, host: &str, found: &[Found]) -> Option<Duration> {
        let has =
            |is_family: fn(&SocketAddr) -> bool| found.iter().any(|it| is_family(&it.address));
        // Servers are asked for no family that the system's resolver leaves out.
        let families = match (has(SocketAddr::is_ipv4), has(SocketAddr::is_ipv6)) {
            (true, true) => Families::Both,
            (true, false) => Families::Ipv4,
            (false, true) => Families::Ipv6,
            (false, false) => return None,
        };
        let name = host.to_owned();
        let is_local = tokio::task::spawn_blocking(move || is_local(&name)).await;
        if is_local.unwrap_or(true) {
            return None;
        }
        let resolver = self.ttls()?;
        let looking = look_up_host(&resolver, host, families);
        let answer = tokio::time::timeout(TTL_TIMEOUT, looking)
            .await
            .ok()?
            .ok()?;
        let is_known = |it: &Found| answer.addresses.contains(&it.address.ip());
        // Of many addresses each answer may have others.
        let ttl = answer.ttl.filter(|_| found.iter().any(is_known))?;
        Some(ttl.clamp(SHORTEST, LONGEST))
    }

    /// Looks a name up by the system's resolver, as [`look_up`](Self::look_up) does. A name that has no address for certain has vanished.
    pub(super) async fn look_up_by_system(&self, name: &HostPort) -> (LookedUp, Duration) {
        match ask_system(name).await {
            Err(ResolveError::NotFound { .. }) => (LookedUp::Vanished, AFTER_FAILURE),
            found => said_by_system(found),
        }
    }

    fn ttls(&self) -> Option<HickoryResolver> {
        let mut ttls = self.ttls.borrow_mut();
        if ttls.is_none() {
            *ttls = HickoryResolver::from_system_servers().ok();
        }
        ttls.clone()
    }

    async fn ask(&self, rules: &ResolverRules, name: &HostPort) -> Said {
        let resolver = match self.resolver(&rules.servers) {
            Ok(resolver) => resolver,
            Err(error) => return Said::failed(format!("no resolver can begin: {error}")),
        };
        let families = match (rules.ipv4, rules.ipv6) {
            (true, false) => Families::Ipv4,
            (false, true) => Families::Ipv6,
            _ => Families::Both,
        };
        if name.port == 0 {
            return look_up_service(&resolver, &name.host, families).await;
        }
        match look_up_host(&resolver, &name.host, families).await {
            Ok(answer) => {
                let at = |ip: IpAddr| Found {
                    address: SocketAddr::new(ip, name.port),
                    service: None,
                };
                Said {
                    looked_up: LookedUp::Found(answer.addresses.into_iter().map(at).collect()),
                    ttl: answer.ttl,
                }
            }
            Err(error) => Said::not_found(&error),
        }
    }

    fn resolver(&self, servers: &[SocketAddr]) -> io::Result<HickoryResolver> {
        let mut kept = self.kept.borrow_mut();
        if let Some(resolver) = kept.get(servers) {
            return Ok(resolver.clone());
        }
        let resolver = match servers {
            [] => HickoryResolver::from_system()?,
            servers => HickoryResolver::with_servers(servers)?,
        };
        if kept.len() >= MOST_KEPT {
            // Those that are in use go on.
            kept.clear();
        }
        kept.insert(servers.to_vec(), resolver.clone());
        Ok(resolver)
    }
}

impl Said {
    fn failed(why: String) -> Self {
        Self {
            looked_up: LookedUp::Failed(why),
            ttl: None,
        }
    }

    fn not_found(error: &ResolveError) -> Self {
        match error {
            ResolveError::NotFound { ttl, .. } => Self {
                looked_up: LookedUp::Vanished,
                ttl: *ttl,
            },
            error => Self::failed(error.to_string()),
        }
    }
}

/// Services have no other source than DNS.
fn system_rules() -> ResolverRules {
    ResolverRules {
        servers: Vec::new(),
        valid: None,
        timeout: TTL,
        ipv4: true,
        ipv6: true,
    }
}

/// What the system's resolver finds, and the time until the next look-up.
async fn ask_system(name: &HostPort) -> Result<(Vec<Found>, Duration), ResolveError> {
    let (addresses, ttl) = match system().look_up(&name.host, Families::Both) {
        Lookups::Together(answer) => answer.await.map(|answer| (answer.addresses, answer.ttl)),
        // Those of the system have no time to live.
        apart => apart.all().await.map(|addresses| (addresses, None)),
    }?;
    let at = |ip| Found {
        address: SocketAddr::new(ip, name.port),
        service: None,
    };
    let found = addresses.into_iter().map(at).collect();
    Ok((found, ttl.unwrap_or(TTL).clamp(SHORTEST, LONGEST)))
}

fn said_by_system(found: Result<(Vec<Found>, Duration), ResolveError>) -> (LookedUp, Duration) {
    match found {
        Ok((found, again)) => (LookedUp::Found(found), again),
        Err(error) => (LookedUp::Failed(error.to_string()), AFTER_FAILURE),
    }
}

/// Whether DNS servers are not asked for this name: one without a dot, or one of the hosts file. Blocks on that.
fn is_local(host: &str) -> bool {
    let text = || std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let host = host.strip_suffix('.').unwrap_or(host);
    !host.contains('.') || is_in_hosts(host, &text())
}

fn is_in_hosts(host: &str, text: &str) -> bool {
    text.lines().any(|line| {
        let written = line.split_once('#').map_or(line, |(before, _)| before);
        let mut names = written.split_ascii_whitespace().skip(1);
        names.any(|name| name.eq_ignore_ascii_case(host))
    })
}

/// The addresses of both families that there are. One that cannot be found out now does not hide the other.
async fn look_up_host(
    resolver: &HickoryResolver,
    host: &str,
    families: Families,
) -> Result<Answer, ResolveError> {
    let (ipv6, ipv4) = match resolver.look_up(host, families) {
        Lookups::Apart { ipv6, ipv4 } => tokio::join!(ipv6, ipv4),
        Lookups::Together(answer) => return answer.await,
        other => return other.all().await.map(Answer::new),
    };
    match (ipv6, ipv4) {
        (Ok(mut one), Ok(other)) => {
            one.addresses.extend(other.addresses);
            one.ttl = one.ttl.into_iter().chain(other.ttl).min();
            Ok(one)
        }
        (Ok(mut one), Err(error)) | (Err(error), Ok(mut one)) => {
            if !matches!(error, ResolveError::NotFound { .. }) {
                one.ttl = one.ttl.into_iter().chain([AFTER_FAILURE]).min();
            }
            Ok(one)
        }
        (Err(ResolveError::NotFound { .. }), Err(error)) | (Err(error), Err(_)) => Err(error),
    }
}

/// The servers of a service, with their addresses.
async fn look_up_service(resolver: &HickoryResolver, name: &str, families: Families) -> Said {
    let answer = match resolver.services(name).await {
        Ok(answer) => answer,
        Err(error) => return Said::not_found(&error),
    };
    let first = answer.servers.iter().map(|it| it.priority).min();
    let mut looking = JoinSet::new();
    for server in answer.servers.into_iter().take(MOST_SERVERS) {
        let resolver = resolver.clone();
        looking.spawn_local(async move {
            let found = look_up_host(&resolver, &server.host, families).await;
            (server, found)
        });
    }
    let (mut all, mut ttl, mut problem) = (Vec::new(), answer.ttl, None);
    while let Some(looked_up) = looking.join_next().await {
        match looked_up {
            Ok((server, Ok(answer))) => {
                ttl = ttl.into_iter().chain(answer.ttl).min();
                all.extend(answer.addresses.iter().map(|ip| found(&server, first, *ip)));
            }
            Ok((_, Err(ResolveError::NotFound { .. }))) => {}
            Ok((_, Err(error))) => problem = Some(error.to_string()),
            Err(error) => problem = Some(error.to_string()),
        }
    }
    match (all.is_empty(), problem) {
        (true, Some(problem)) => Said::failed(problem),
        (true, None) => Said {
            looked_up: LookedUp::Vanished,
            ttl,
        },
        (false, problem) => Said {
            looked_up: LookedUp::Found(all),
            // One that is missing is looked up soon.
            ttl: problem.map(|_| AFTER_FAILURE).into_iter().chain(ttl).min(),
        },
    }
}

fn found(server: &ServiceServer, first: Option<u16>, ip: IpAddr) -> Found {
    let is_backup = first.is_some_and(|first| server.priority > first);
    Found {
        address: SocketAddr::new(ip, server.port),
        service: Some((server.weight, is_backup)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_hosts_file_are_local() {
        let text = "127.0.0.1 localhost\n10.0.0.1\ta.test  B.test # c.test\n# 10.0.0.2 d.test\n";
        for (host, is_it) in [
            ("a.test", true),
            ("b.test", true),
            ("c.test", false),
            ("d.test", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(is_in_hosts(host, text), is_it, "{host}");
        }
        assert!(is_local("db") && is_local("db."));
    }
}
