//! `acl`, and tests in braces: what a rule may ask of a connection.

use std::collections::BTreeSet;
use std::path::Path;

use super::lines::Line;
use super::pattern::{self, PatternKind};
use super::proxy::Proxy;
use crate::files::Files;
use crate::note::{Place, Report, Reported};
use crate::toml::{Entry, Table, Value, key};

/// What a test looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// `src`.
    Client,
    /// `dst`.
    Server,
    /// `dst_port`.
    Port,
    /// `req.ssl_sni`, `ssl_fc_sni`.
    Name,
    /// `req.ssl_alpn`.
    Protocols,
    /// `ssl_fc_alpn`.
    Protocol,
    /// `req.ssl_hello_type`.
    Hello,
}

impl Subject {
    /// The text that has it.
    pub(super) fn variable(self) -> &'static str {
        match self {
            Self::Client => "${client.address}",
            Self::Server => "${server.address}",
            Self::Port => "${server.port}",
            Self::Name => "${sni}",
            Self::Protocols => "${alpn}",
            Self::Protocol => "${tls.alpn}",
            Self::Hello => "${hello.version}",
        }
    }

    pub(super) fn is_address(self) -> bool {
        matches!(self, Self::Client | Self::Server)
    }

    /// Whether it is known once the client's hello has come.
    pub(super) fn is_of_hello(self) -> bool {
        matches!(self, Self::Name | Self::Protocols | Self::Hello)
    }
}

/// The pattern of an empty text.
pub(super) const EMPTY: &str = "~^$";

/// A test with all its keys: it holds for a connection that has one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Test {
    pub(super) subject: Subject,
    pub(super) keys: Vec<String>,
    /// Of its `acl`, if it has one.
    pub(super) name: Option<String>,
    /// Of its first line.
    place: Place,
}

impl Test {
    /// The map that is "1" where it holds, and else "0".
    pub(super) fn table(&self, name: &str) -> Table {
        let mut table = Table::new(format!("[map.{}]", key(name)), Some(&self.place));
        if self.subject.is_address() {
            table.push(Entry::default("kind", Value::text("network")));
        }
        let from = Value::text(self.subject.variable());
        table.push(Entry::default("from", from));
        table.push(Entry::default("default", Value::text("0")));
        let empty = self.has_empty().then_some((EMPTY, "0"));
        let keys = self.keys.iter().map(|key| (&**key, "1"));
        let values = empty.into_iter().chain(keys).map(|(key, value)| {
            let pair = [Value::text(key), Value::text(value)];
            (Value::List(pair.into()), None)
        });
        table.push(Entry::default("values", Value::Lines(values.collect())));
        table
    }

    /// Whether a pattern takes an empty text, too. HAProxy has none then, and the test does not hold.
    pub(super) fn has_empty(&self) -> bool {
        let takes_empty = |key: &String| {
            let pattern = key.strip_prefix('~')?;
            let pattern = pattern.strip_prefix('*').unwrap_or(pattern);
            let regex = regex::bytes::Regex::new(pattern).ok()?;
            regex.is_match(b"").then_some(())
        };
        self.keys.iter().any(|key| takes_empty(key).is_some())
    }
}

/// What a name or braces ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Always,
    Never,
    /// The test with this number.
    Test(usize),
}

/// Names that HAProxy knows itself. At `WAIT_END` what is waited for has come.
const PREDEFINED: &[(&str, &[&str])] = &[
    ("TRUE", &["always_true"]),
    ("FALSE", &["always_false"]),
    ("WAIT_END", &["always_true"]),
    ("LOCALHOST", &["src", "127.0.0.1/8", "::1"]),
];

/// The tests of a frontend.
pub(super) struct Acls<'a> {
    proxy: Proxy<'a>,
    folder: &'a Path,
    files: &'a mut dyn Files,
    pub(super) tests: Vec<Test>,
    used: BTreeSet<&'a str>,
}

impl<'a> Acls<'a> {
    pub(super) fn new(proxy: Proxy<'a>, folder: &'a Path, files: &'a mut dyn Files) -> Self {
        Self {
            proxy,
            folder,
            files,
            tests: Vec::new(),
            used: BTreeSet::new(),
        }
    }

    /// What a name asks: any of these.
    pub(super) fn named(
        &mut self,
        line: &Line,
        name: &str,
        report: &mut Report,
    ) -> Result<Vec<Asked>, Reported> {
        let acls = self.proxy.own(&["acl", name]);
        let Some(first) = acls.first() else {
            let known = PREDEFINED.iter().find(|(known, _)| *known == name);
            let Some((_, words)) = known else {
                return Err(line.refuse(report, format!("names {name:?}, which is no `acl`")));
            };
            let words: Vec<String> = words.iter().map(|it| (*it).to_owned()).collect();
            return Ok(vec![self.asked(line, &words, report)?]);
        };
        self.used.insert(first.word(1));
        let mut any = Vec::new();
        // Lines of one subject are one test.
        let mut tests: Vec<Test> = Vec::new();
        for acl in acls {
            match self.read(acl, &acl.words[2..], report)? {
                Read::Constant(true) => any.push(Asked::Always),
                Read::Constant(false) => {}
                Read::Test(test) => match tests.iter_mut().find(|it| it.subject == test.subject) {
                    Some(same) => same.keys.extend(test.keys),
                    None => tests.push(test),
                },
            }
        }
        let tests = tests.into_iter().map(|test| self.add(test));
        any.extend(tests.collect::<Vec<_>>());
        Ok(any)
    }

    /// What the words between braces ask.
    pub(super) fn asked(
        &mut self,
        line: &Line,
        words: &[String],
        report: &mut Report,
    ) -> Result<Asked, Reported> {
        Ok(match self.read(line, words, report)? {
            Read::Constant(true) => Asked::Always,
            Read::Constant(false) => Asked::Never,
            Read::Test(test) => self.add(test),
        })
    }

    /// Says of each `acl` that no rule names that it has no effect.
    pub(super) fn remark_unused(&self, report: &mut Report) {
        let unused = |line: &&&Line| !self.used.contains(line.word(1));
        for line in self.proxy.own(&["acl"]).iter().filter(unused) {
            let name = line.word(1);
            report.remark(
                &line.place,
                format!("`acl {name}` is left out: no rule names it"),
            );
        }
    }

    fn add(&mut self, test: Test) -> Asked {
        let is_same = |it: &Test| it.subject == test.subject && it.keys == test.keys;
        let at = self.tests.iter().position(is_same);
        Asked::Test(at.unwrap_or_else(|| {
            self.tests.push(test);
            self.tests.len() - 1
        }))
    }

    fn read(
        &mut self,
        line: &Line,
        words: &[String],
        report: &mut Report,
    ) -> Result<Read, Reported> {
        let (fetch, words) = words
            .split_first()
            .map_or(("", words), |it| (&**it.0, it.1));
        let (fetch, converters) = fetch.split_once(',').unwrap_or((fetch, ""));
        // HAProxy has short names for ways to compare.
        let (fetch, way) = match fetch {
            "ssl_fc_sni_end" => ("ssl_fc_sni", "end"),
            "ssl_fc_sni_reg" => ("ssl_fc_sni", "reg"),
            other => (other, "str"),
        };
        let (subject, keys) = match fetch {
            "always_true" => return Ok(Read::Constant(true)),
            "always_false" => return Ok(Read::Constant(false)),
            "ssl_fc" => return Ok(Read::Constant(self.ends_tls(line, report)?)),
            "req.ssl_hello_type" | "req_ssl_hello_type" => {
                (Subject::Hello, PatternKind::ClientHello)
            }
            fetch => match self.subject(line, fetch, report)? {
                it @ (Subject::Client | Subject::Server) => (it, PatternKind::Networks),
                it @ Subject::Port => (it, PatternKind::Numbers),
                it => (it, PatternKind::Texts(way)),
            },
        };
        if subject == Subject::Hello {
            self.check_end_of_tls(line, fetch, subject, report)?;
        }
        let is_lower = match converters {
            "" => false,
            "lower" if matches!(keys, PatternKind::Texts(_)) => true,
            other => {
                let why = format!("has `{other}`, a converter that is not imported");
                return Err(line.refuse(report, why));
            }
        };
        let words = self.with_files(line, words, report)?;
        let keys = pattern::keys(line, keys, is_lower, &words, report)?;
        Ok(Read::Test(Test {
            subject,
            keys,
            name: (line.word(0) == "acl").then(|| line.word(1).to_owned()),
            place: line.place.clone(),
        }))
    }

    /// What a fetch takes from the connection, if that is a text or an address.
    pub(super) fn subject(
        &self,
        line: &Line,
        fetch: &str,
        report: &mut Report,
    ) -> Result<Subject, Reported> {
        let subject = match fetch {
            "src" => Subject::Client,
            "dst" => Subject::Server,
            "dst_port" => Subject::Port,
            "req.ssl_sni" | "req_ssl_sni" | "ssl_fc_sni" => Subject::Name,
            "req.ssl_alpn" => Subject::Protocols,
            "ssl_fc_alpn" => Subject::Protocol,
            other => {
                let why = format!("asks for `{other}`, which is not imported");
                return Err(line.refuse(report, why));
            }
        };
        self.check_end_of_tls(line, fetch, subject, report)?;
        Ok(subject)
    }

    /// Refuses what is not known: a hello where TLS ends, and what was agreed on where it passes through.
    fn check_end_of_tls(
        &self,
        line: &Line,
        fetch: &str,
        subject: Subject,
        report: &mut Report,
    ) -> Result<(), Reported> {
        let is_at_end = fetch.starts_with("ssl_fc_");
        if (is_at_end || subject.is_of_hello()) && self.ends_tls(line, report)? != is_at_end {
            let why = match is_at_end {
                true => format!("asks for `{fetch}`, and no `bind` has `ssl`"),
                false => format!("asks for `{fetch}`, and `bind` has `ssl`: TLS ends there"),
            };
            return Err(line.refuse(report, why));
        }
        Ok(())
    }

    /// The text of a file that a line names.
    pub(super) fn file(
        &mut self,
        line: &Line,
        name: &str,
        report: &mut Report,
    ) -> Result<String, Reported> {
        let path = self.folder.join(name);
        let text = self.files.read(&path);
        text.map_err(|error| line.refuse(report, format!("names {}: {error}", path.display())))
    }

    /// Whether TLS ends at all addresses of the frontend, or at none.
    fn ends_tls(&self, line: &Line, report: &mut Report) -> Result<bool, Reported> {
        let binds = self.proxy.own(&["bind"]);
        let with_tls = binds
            .iter()
            .filter(|it| it.words.iter().any(|it| it == "ssl"));
        match with_tls.count() {
            0 => Ok(false),
            count if count == binds.len() => Ok(true),
            _ => {
                let why = "asks for TLS, and some of the frontend's `bind` have `ssl`: write two frontends";
                Err(line.refuse(report, why))
            }
        }
    }

    /// The flags and patterns of a test, with those of its files in place of `-f`.
    fn with_files(
        &mut self,
        line: &Line,
        words: &[String],
        report: &mut Report,
    ) -> Result<pattern::Written, Reported> {
        let mut written = pattern::Written::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match &**word {
                "--" => break,
                "-f" => {
                    let name = words.next().map_or("", String::as_str);
                    let text = self.file(line, name, report)?;
                    let lines = text.lines().map(str::trim);
                    let lines = lines.filter(|it| !it.is_empty() && !it.starts_with('#'));
                    written.patterns.extend(lines.map(str::to_owned));
                }
                "-m" => written.way = words.next().cloned(),
                "-i" => written.ignores_case = true,
                // Names are not looked up here either.
                "-n" => {}
                flag if flag.starts_with('-') => {
                    return Err(line.refuse(report, format!("has `{flag}`, which is not imported")));
                }
                pattern => {
                    written.patterns.push(pattern.to_owned());
                    break;
                }
            }
        }
        written.patterns.extend(words.cloned());
        Ok(written)
    }
}

enum Read {
    Constant(bool),
    Test(Test),
}
