//! `ssl` of servers: TLS towards peers.

use super::bases::Bases;
use super::lines::Line;
use crate::note::{Report, Reported};
use crate::toml::Value;

/// Options with a value.
const WITH_VALUES: &[&str] = &[
    "verify",
    "ca-file",
    "crl-file",
    "verifyhost",
    "sni",
    "check-sni",
    "crt",
    "alpn",
    "ssl-min-ver",
    "ssl-max-ver",
];

/// What a server says of TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PeerTls {
    pub(super) ssl: bool,
    check_ssl: bool,
    verifies_nothing: bool,
    issuers: Option<String>,
    revoked: Option<String>,
    verified_name: Option<String>,
    sent_name: Option<String>,
    checked_name: Option<String>,
    certificate: Option<String>,
    alpn: Vec<String>,
    has_no_tls12: bool,
    has_no_tls13: bool,
    has_no_reuse: bool,
}

impl PeerTls {
    /// Reads an option. `None`: it is not about TLS.
    pub(super) fn option<'a>(
        &mut self,
        line: &Line,
        word: &str,
        words: &mut impl Iterator<Item = &'a str>,
        bases: &Bases,
        report: &mut Report,
    ) -> Option<Result<(), Reported>> {
        match word {
            "ssl" => self.ssl = true,
            "no-ssl" => self.ssl = false,
            "check-ssl" => self.check_ssl = true,
            "no-check-ssl" => self.check_ssl = false,
            "no-ssl-reuse" => self.has_no_reuse = true,
            "ssl-reuse" => self.has_no_reuse = false,
            word if WITH_VALUES.contains(&word) => {
                let value = words.next().unwrap_or_default();
                return Some(self.value(line, word, value, bases, report));
            }
            _ => return None,
        }
        Some(Ok(()))
    }

    fn value(
        &mut self,
        line: &Line,
        word: &str,
        value: &str,
        bases: &Bases,
        report: &mut Report,
    ) -> Result<(), Reported> {
        match (word, value) {
            (_, "") => return Err(line.refuse(report, format!("has `{word}` without a value"))),
            ("verify", "none") => self.verifies_nothing = true,
            ("verify", "required") => self.verifies_nothing = false,
            ("ca-file", "@system-ca") => self.issuers = Some(String::new()),
            ("ca-file", _) => self.issuers = Some(bases.issuers(value)),
            ("crl-file", _) => self.revoked = Some(bases.issuers(value)),
            ("verifyhost", name) => self.verified_name = Some(escaped(name)),
            ("check-sni", name) => self.checked_name = Some(escaped(name)),
            ("crt", _) => self.certificate = Some(bases.certificate(value)),
            ("alpn", names) => self.alpn = names.split(',').map(str::to_owned).collect(),
            ("sni", sample) => match sent_name(sample) {
                Some(name) => self.sent_name = Some(name),
                None => {
                    let why = format!("has `sni {sample}`, which cannot be expressed");
                    return Err(line.refuse(report, why));
                }
            },
            ("ssl-min-ver", "TLSv1.3") => self.has_no_tls12 = true,
            ("ssl-min-ver", _) => self.has_no_tls12 = false,
            ("ssl-max-ver", "TLSv1.2") => self.has_no_tls13 = true,
            ("ssl-max-ver", "TLSv1.3") => self.has_no_tls13 = false,
            _ => return Err(line.refuse(report, format!("has a wrong `{word}`"))),
        }
        Ok(())
    }

    /// The table `tls` of the upstream, if its servers speak TLS.
    pub(super) fn table(
        &self,
        line: &Line,
        report: &mut Report,
    ) -> Result<Option<Value>, Reported> {
        if !self.ssl {
            return match self.check_ssl {
                true => Err(line.refuse(report, "has `check-ssl` without `ssl`")),
                false => Ok(None),
            };
        }
        let mut table = Vec::new();
        let mut push = |key: &str, value| table.push((key.to_owned(), value));
        if let Err(why) = self.check() {
            return Err(line.refuse(report, why));
        }
        if self.verifies_nothing {
            push("verify", Value::Flag(false));
        } else {
            for (key, path) in [("ca", &self.issuers), ("crl", &self.revoked)] {
                if let Some(path) = path.as_ref().filter(|it| !it.is_empty()) {
                    push(key, Value::text(path));
                }
            }
        }
        let verified = self
            .verified_name
            .as_ref()
            .filter(|_| !self.verifies_nothing);
        if let Some(name) = self.sent_name.as_ref().or(verified) {
            push("server_name", Value::text(name));
        }
        if self.sent_name.is_none() {
            push("send_server_name", Value::Flag(false));
        }
        if let Some(path) = &self.certificate {
            push("certificate", Value::text(path));
            push("key", Value::text(path));
        }
        if !self.alpn.is_empty() {
            push(
                "alpn",
                Value::List(self.alpn.iter().map(Value::text).collect()),
            );
        }
        let version = match (self.has_no_tls12, self.has_no_tls13) {
            (true, _) => Some("1.3"),
            (_, true) => Some("1.2"),
            _ => None,
        };
        if let Some(version) = version {
            push("versions", Value::List(vec![Value::text(version)]));
        }
        if self.has_no_reuse {
            push("reuse", Value::Flag(false));
        }
        Ok(Some(Value::Table(table)))
    }

    /// Whether it can be expressed.
    fn check(&self) -> Result<(), &'static str> {
        let differs = |one: &Option<String>, other: &Option<String>| {
            one.is_some() && other.is_some() && one != other
        };
        if self.has_no_tls12 && self.has_no_tls13 {
            return Err("has `ssl` and no version of TLS");
        }
        if self.checked_name.is_some() && self.checked_name != self.sent_name {
            return Err("has a `check-sni` that is not its `sni`, and an upstream has one name");
        }
        if self.verifies_nothing {
            return Ok(());
        }
        if self.issuers.is_none() {
            return Err("has `ssl` without `ca-file`: write it, or `verify none`");
        }
        if differs(&self.verified_name, &self.sent_name) {
            return Err("has a `verifyhost` that is not its `sni`, and an upstream has one name");
        }
        if self.verified_name.is_none() && self.sent_name.is_none() {
            return Err(
                "verifies its certificate for any name, and Moorline for one: write `verifyhost`, or `sni`",
            );
        }
        Ok(())
    }
}

/// A text without variables.
fn escaped(text: &str) -> String {
    text.replace('$', "$$")
}

/// The name that a sample stands for.
fn sent_name(sample: &str) -> Option<String> {
    if let "req.ssl_sni" | "req_ssl_sni" | "ssl_fc_sni" = sample {
        return Some("${sni}".to_owned());
    }
    let name = sample.strip_prefix("str(")?.strip_suffix(')')?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (!name.is_empty() && name.chars().all(is_plain)).then(|| name.to_owned())
}
