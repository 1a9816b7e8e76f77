//! `ssl_conf_command` and `proxy_ssl_conf_command`: commands of OpenSSL, as far as Moorline has what they set.

use super::context::Context;
use super::pem_file::path_of;
use super::scope::Scope;
use super::tree::Directive;
use crate::note::Reported;
use crate::toml::Value;

/// What the commands of a server say.
#[derive(Default)]
pub(super) struct Commands {
    /// Whether TLS 1.2 and TLS 1.3 are spoken, if they say so.
    versions: Option<(bool, bool)>,
    /// Whether sessions are resumed by tickets, if they say so.
    pub(super) tickets: Option<bool>,
    /// They take the place of those of other directives.
    pub(super) certificate: Option<Value>,
    pub(super) key: Option<Value>,
}

const CIPHERS: &[&str] = &[
    "ciphers",
    "cipherstring",
    "ciphersuites",
    "curves",
    "groups",
    "ecdhparameters",
    "dhparameters",
    "signaturealgorithms",
    "clientsignaturealgorithms",
];

/// Reads the commands that hold in a server.
pub(super) fn commands(
    directive: &str,
    scope: Scope<'_>,
    cx: &mut Context<'_>,
) -> Result<Commands, Reported> {
    let mut commands = Commands::default();
    let mut result = Ok(());
    for directive in scope.all(directive) {
        if let Err(reported) = commands.take(directive, cx) {
            result = Err(reported);
        }
    }
    result.map(|()| commands)
}

impl Commands {
    fn take(&mut self, directive: &Directive, cx: &mut Context<'_>) -> Result<(), Reported> {
        let [command, value] = &directive.arguments[..] else {
            return Err(directive.refuse(&mut cx.report, "takes a command and its value"));
        };
        let lower = command.to_ascii_lowercase();
        match &lower[..] {
            "minprotocol" | "maxprotocol" => {
                let is_least = lower == "minprotocol";
                let (old, new) = self.versions.unwrap_or((true, true));
                let bounded = match (&value.to_ascii_lowercase()[..], is_least) {
                    ("none", _) => (old, new),
                    ("tlsv1.3", true) => (false, new),
                    ("tlsv1.2", false) => (old, false),
                    ("tlsv1.3", false) | ("tlsv1.2" | "tlsv1.1" | "tlsv1" | "sslv3", true) => {
                        (old, new)
                    }
                    _ => {
                        let why = format!("has {value:?}: Moorline speaks TLSv1.2 and TLSv1.3");
                        return Err(directive.refuse(&mut cx.report, why));
                    }
                };
                self.versions = Some(bounded);
            }
            "protocol" => self.versions = Some(protocols(value, self.versions)),
            "options" => value.split(',').for_each(|option| {
                let is_on = !option.starts_with('-');
                let option = option.trim_start_matches(['-', '+']);
                if option.eq_ignore_ascii_case("sessionticket") {
                    self.tickets = Some(is_on);
                } else {
                    let text = format!("`{option}` has no effect: it is an option of OpenSSL");
                    cx.report.remark(&directive.place, text);
                }
            }),
            "certificate" => self.certificate = Some(path_of(value, directive, cx)?),
            "privatekey" => self.key = Some(path_of(value, directive, cx)?),
            lower if CIPHERS.contains(&lower) => {
                let text = format!(
                    "`{command}` has no effect: all ciphers and curves that Moorline has are strong, and it prefers the best"
                );
                cx.report.remark(&directive.place, text);
            }
            _ => {
                let why = format!("cannot be expressed: Moorline has no `{command}`");
                return Err(directive.refuse(&mut cx.report, why));
            }
        }
        Ok(())
    }

    /// The versions of a directive, as far as the commands leave them.
    pub(super) fn bounded(
        &self,
        written: Option<(bool, bool)>,
        directive: &str,
        scope: Scope<'_>,
        cx: &mut Context<'_>,
    ) -> Result<Option<(bool, bool)>, Reported> {
        let Some(said) = self.versions else {
            return Ok(written);
        };
        let (old, new) = written.unwrap_or((true, true));
        match (old && said.0, new && said.1) {
            (false, false) => {
                let why = "leaves neither TLSv1.2 nor TLSv1.3: Moorline has no other versions";
                let at = scope.all(directive);
                Err(match at.first() {
                    Some(directive) => directive.refuse(&mut cx.report, why),
                    None => Reported,
                })
            }
            versions => Ok(Some(versions)),
        }
    }
}

/// What a list such as `-ALL,TLSv1.2` leaves.
fn protocols(list: &str, before: Option<(bool, bool)>) -> (bool, bool) {
    let mut versions = before.unwrap_or((true, true));
    for word in list.split(',').map(str::trim) {
        let is_on = !word.starts_with('-');
        match &word.trim_start_matches(['-', '+']).to_ascii_lowercase()[..] {
            "all" => versions = (is_on, is_on),
            "tlsv1.2" => versions.0 = is_on,
            "tlsv1.3" => versions.1 = is_on,
            _ => {}
        }
    }
    versions
}
