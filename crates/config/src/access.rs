//! `access` of a listener: which clients may connect.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Network;
use super::error::Reported;
use super::walk::Field;

/// Each connection is compared with all of them, one after the other.
const MOST_RULES: usize = 4096;

const HINT: &str =
    r#"write access = [{ allow = "10.0.0.0/8" }, { allow = "unix:" }, { deny = "all" }]"#;

/// Which clients may connect. The first rule that is of a client decides; a client without one may.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access(Vec<AccessRule>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct AccessRule {
    verdict: Verdict,
    clients: Clients,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Verdict {
    Allow,
    Deny,
}

/// The clients that a rule is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Clients {
    All,
    /// Those on a Unix socket.
    Unix,
    Network(Network),
}

impl Access {
    /// Whether the client with this address may connect; `None`: one on a Unix socket. An IPv4 address within IPv6 counts as
    /// the IPv4 address.
    pub fn allows(&self, client: Option<IpAddr>) -> bool {
        let client = client.map(|ip| ip.to_canonical());
        let is_of = |rule: &&AccessRule| match (rule.clients, client) {
            (Clients::All, _) | (Clients::Unix, None) => true,
            (Clients::Network(network), Some(ip)) => network.contains(ip),
            (Clients::Unix, Some(_)) | (Clients::Network(_), None) => false,
        };
        let rule = self.0.iter().find(is_of);
        rule.is_none_or(|rule| rule.verdict == Verdict::Allow)
    }
}

/// Reads the key of a listener.
pub(super) fn access(field: &Field<'_>) -> Result<Access, Reported> {
    let entries = field.array(HINT)?;
    if entries.len() > MOST_RULES {
        let message = format!("`access` has over {MOST_RULES} rules");
        return Err(field.refuse(message, "write networks in place of single addresses"));
    }
    let rules: Vec<_> = entries.map(|entry| rule(&entry)).collect();
    Ok(Access(rules.into_iter().collect::<Result<_, _>>()?))
}

fn rule(entry: &Field<'_>) -> Result<AccessRule, Reported> {
    let section = entry.section("a rule of `access`", HINT)?;
    let allow = section.read("allow", |field| clients(&field));
    let deny = section.read("deny", |field| clients(&field));
    section.finish()?;
    let (verdict, clients) = match (allow?, deny?) {
        (Some(clients), None) => (Verdict::Allow, clients),
        (None, Some(clients)) => (Verdict::Deny, clients),
        (None, None) => {
            let message = "a rule of `access` says neither `allow` nor `deny`";
            return Err(entry.refuse(message, HINT));
        }
        (Some(_), Some(_)) => {
            let message = "a rule of `access` says both `allow` and `deny`";
            return Err(entry.refuse(
                message,
                "write two rules: the first one of a client decides",
            ));
        }
    };
    Ok(AccessRule { verdict, clients })
}

fn clients(field: &Field<'_>) -> Result<Clients, Reported> {
    match field.text()? {
        "all" => Ok(Clients::All),
        "unix:" | "unix" => Ok(Clients::Unix),
        text => Network::parse(text)
            .map(Clients::Network)
            .map_err(|problem| {
                let message = format!("`{}`: {text:?} {problem}", field.key);
                field.refuse(
                    message,
                    "write \"10.0.0.1\", \"10.0.0.0/8\", \"2001:db8::/32\", \"unix:\" or \"all\"",
                )
            }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(rules: &str) -> Access {
        let text = format!("[[listen]]\naddress = \"tcp://127.0.0.1:0\"\naccess = [{rules}]\n");
        let loaded = crate::load_text(&text, std::path::Path::new("/a.toml"));
        loaded
            .expect("it is right")
            .config
            .listeners
            .remove(0)
            .stream
            .access
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn the_first_rule_of_a_client_decides_and_without_one_it_may_connect() {
        let rules = r#"{ deny = "10.0.0.1" }, { allow = "10.0.0.0/8" }, { deny = "2001:db8::/32" }, { deny = "unix:" }"#;
        let open = access(rules);
        for (client, may) in [
            ("10.0.0.1", false),
            ("10.0.0.2", true),
            ("192.0.2.1", true),
            ("::ffff:10.0.0.1", false),
            ("::ffff:10.0.0.2", true),
            ("2001:db8::1", false),
            ("2001:db9::1", true),
        ] {
            assert_eq!(open.allows(ip(client)), may, "{client}");
        }
        assert!(!open.allows(None));
        let closed = access(&format!("{rules}, {{ deny = \"all\" }}"));
        assert!(closed.allows(ip("10.0.0.2")));
        assert!(!closed.allows(ip("192.0.2.1")));
        assert!(!closed.allows(ip("2001:db9::1")));
        assert!(access(r#"{ allow = "unix:" }, { deny = "all" }"#).allows(None));
        assert!(access("").allows(None));
    }
}
