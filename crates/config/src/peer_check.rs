//! `check = { … }` of an upstream: how its peers are checked while nobody uses them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::datagram_relay::Checked;
use super::error::Reported;
use super::walk::{Field, Section};

/// Any larger number of attempts, failures, checks or connections is a slip.
pub(super) const MOST: u64 = 10_000_000;

const DEFAULT_CHECK_INTERVAL: Duration = Duration::from_secs(5);
const DEFAULT_CHECK_TIMEOUT: Duration = Duration::from_secs(1);
const DEFAULT_RISE: u32 = 2;
const DEFAULT_FALL: u32 = 3;

/// Bytes that a check sends, and bytes that it looks for in the answer.
const MOST_SENT: usize = 4096;
const MOST_EXPECTED: usize = 1024;

const EXCHANGE_HINT: &str = r#"write check = { kind = "expect", send = "PING\r\n", expect = "+PONG" }; bytes also as [0, 255]"#;

/// How peers are checked while nobody uses them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What a check does.
    pub kind: CheckKind,
    /// The time between two checks of a peer, more or less: they are spread by a tenth of it. Default 5 s.
    pub interval: Duration,
    /// Checks in a row that must succeed until the peer is used again. Default 2.
    pub rise: u32,
    /// Checks in a row that must fail until it is not used any more. Default 3.
    pub fall: u32,
    /// How long one may take. Default 1 s, and at most `interval`.
    pub timeout: Duration,
}

/// What a check does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckKind {
    /// It connects, and closes the connection.
    Connect,
    /// It connects, shakes hands, and closes the connection.
    Tls,
    /// It connects, sends something, and waits for an answer; over TLS, if the upstream has it.
    Expect(Exchange),
}

/// What a check sends, and what it must receive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// Empty: the peer speaks first.
    pub send: Vec<u8>,
    /// The answer must have these bytes somewhere; not empty.
    pub expect: Vec<u8>,
}

impl CheckKind {
    pub(super) fn checked(&self) -> Checked {
        match self {
            Self::Connect | Self::Tls => Checked::Connecting,
            Self::Expect(exchange) if exchange.send.is_empty() => Checked::Listening,
            Self::Expect(_) => Checked::Asking,
        }
    }
}

pub(super) fn check(field: &Field<'_>) -> Result<Check, Reported> {
    let hint = r#"write check = { kind = "connect", interval = "5s" }"#;
    let section = field.section("`check`", hint)?;
    let kind = check_kind(&section, hint);
    let interval = section.read("interval", |field| field.timeout());
    let rise = section.read("rise", |field| field.number(1..=MOST));
    let fall = section.read("fall", |field| field.number(1..=MOST));
    let timeout = section.read("timeout", |field| field.timeout());
    let place = section.place("timeout");
    let report = section.report;
    section.finish()?;
    let interval = interval?.unwrap_or(DEFAULT_CHECK_INTERVAL);
    let timeout = timeout?.unwrap_or(DEFAULT_CHECK_TIMEOUT.min(interval));
    if timeout > interval {
        let message = "`timeout` of a check is longer than its `interval`";
        return Err(report.error(
            place,
            message,
            "write a shorter one, or a longer `interval`",
        ));
    }
    Ok(Check {
        kind: kind?,
        interval,
        rise: rise?.unwrap_or(DEFAULT_RISE),
        fall: fall?.unwrap_or(DEFAULT_FALL),
        timeout,
    })
}

/// A check of a handshake, where there is none.
pub(super) fn check_encrypted(
    section: &Section<'_>,
    is_encrypted: bool,
    check: &Check,
) -> Result<(), Reported> {
    if is_encrypted || check.kind != CheckKind::Tls {
        return Ok(());
    }
    Err(section.report.error(
        section.place("check"),
        "a check of kind \"tls\" of peers without TLS",
        "write `tls` beside it, or kind = \"connect\"",
    ))
}

fn check_kind(section: &Section<'_>, hint: &str) -> Result<CheckKind, Reported> {
    let kind = section.require("kind", hint, |field| {
        field.choice(&[
            ("connect", Some(&CheckKind::Connect)),
            ("tls", Some(&CheckKind::Tls)),
            ("expect", None),
        ])
    });
    let send = section.read("send", |field| exchanged(&field, MOST_SENT));
    let expect = section.read("expect", |field| exchanged(&field, MOST_EXPECTED));
    if let Some(kind) = kind? {
        section.refuse_keys(&["send", "expect"], "belongs to checks of kind \"expect\"")?;
        return Ok(kind.clone());
    }
    let (send, expect) = (send?, expect?);
    let Some(expect) = expect else {
        return Err(section.report.error(
            section.place("kind"),
            "a check of kind \"expect\" has no `expect`",
            EXCHANGE_HINT,
        ));
    };
    let send = send.unwrap_or_default();
    Ok(CheckKind::Expect(Exchange { send, expect }))
}

/// Bytes of a check.
fn exchanged(field: &Field<'_>, most: usize) -> Result<Vec<u8>, Reported> {
    let bytes = field.bytes(EXCHANGE_HINT)?;
    if bytes.is_empty() || bytes.len() > most {
        let message = format!(
            "`{}` has {} bytes, and it may have 1 to {most}",
            field.key,
            bytes.len()
        );
        return Err(field.refuse(message, EXCHANGE_HINT));
    }
    Ok(bytes)
}
