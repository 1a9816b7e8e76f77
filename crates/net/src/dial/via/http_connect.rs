//! `CONNECT` over HTTP/1.1 (RFC 9110 §9.3.6), with basic authentication (RFC 7617).

use data_encoding::BASE64;
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::credentials::Credentials;
use crate::address::HostPort;
use crate::dial::error::ConnectCause;

/// The longest answer, all its heads together: what servers commonly limit a head to.
const MAX_ANSWER_BYTES: usize = 16 << 10;

/// How much of a proxy's message is reported.
const MAX_WORDS: usize = 100;

/// Asks the proxy at the other end of `stream` to connect to `target`. What it sends behind its answer is
/// the target's and stays in the socket.
pub(super) async fn open(
    stream: &mut TcpStream,
    target: &HostPort,
    credentials: Option<&Credentials>,
) -> Result<(), ConnectCause> {
    stream.write_all(&request(target, credentials)?).await?;
    let mut answer = ProxyAnswer::new(credentials);
    loop {
        let mut chunk = [0; 1024];
        let seen = stream.peek(&mut chunk).await?;
        if seen == 0 {
            return Err(ConnectCause::EndOfFile);
        }
        let taken = answer.take(&chunk[..seen])?;
        stream.read_exact(&mut chunk[..taken.bytes]).await?;
        if taken.is_open {
            return Ok(());
        }
    }
}

pub(super) fn request(
    target: &HostPort,
    credentials: Option<&Credentials>,
) -> Result<Vec<u8>, ConnectCause> {
    // Anything else could end the line and add one of its own.
    if !target.host.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ConnectCause::Invalid(format!(
            "`{}` is no host",
            target.host.escape_debug()
        )));
    }
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(Credentials { user, password }) = credentials {
        if user.contains(':') {
            return Err(ConnectCause::Invalid(
                "the user of an HTTP proxy cannot have a colon in it".into(),
            ));
        }
        let pair = BASE64.encode(format!("{user}:{password}").as_bytes());
        request.push_str(&format!("Proxy-Authorization: Basic {pair}\r\n"));
    }
    request.push_str("\r\n");
    Ok(request.into_bytes())
}

/// The answer of a proxy, as it arrives.
pub(super) struct ProxyAnswer {
    has_credentials: bool,
    /// The part of the current head that has arrived.
    head: Vec<u8>,
    /// The room left for all heads together.
    allowance: usize,
}

/// What happened to the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// This many of them belong to the answer.
    pub(super) bytes: usize,
    /// The answer has ended there, and the way to the target is open.
    pub(super) is_open: bool,
}

impl ProxyAnswer {
    pub(super) fn new(credentials: Option<&Credentials>) -> Self {
        Self {
            has_credentials: credentials.is_some(),
            head: Vec::new(),
            allowance: MAX_ANSWER_BYTES,
        }
    }

    /// Takes up to the empty line and not a byte further.
    pub(super) fn take(&mut self, next: &[u8]) -> Result<Taken, ConnectCause> {
        let before = self.head.len();
        self.head
            .extend_from_slice(&next[..next.len().min(self.allowance)]);
        let Some(end) = end_of_head(&self.head, before) else {
            self.allowance -= self.head.len() - before;
            if self.allowance == 0 {
                return Err(ConnectCause::Proxy(format!(
                    "its answer has no end within {} KiB",
                    MAX_ANSWER_BYTES >> 10
                )));
            }
            return Ok(Taken {
                bytes: next.len(),
                is_open: false,
            });
        };
        let bytes = end - before;
        self.allowance -= bytes;
        self.head.truncate(end);
        let is_open = self.verdict()?;
        self.head.clear();
        Ok(Taken { bytes, is_open })
    }

    /// The meaning of a whole head. False: it is interim, the answer is still to come (RFC 9110 §15.2).
    fn verdict(&self) -> Result<bool, ConnectCause> {
        match status(&self.head)? {
            (100..200, _) => Ok(false),
            (200..300, _) => Ok(true),
            (407, words) if !self.has_credentials => {
                let words = format!("407 {words}: it wants a user and a password, give them");
                Err(ConnectCause::Proxy(words))
            }
            (code, words) => Err(ConnectCause::Proxy(format!("{code} {words}"))),
        }
    }
}

/// Where the empty line ends; its carriage returns may be missing (RFC 9112 §2.2). It does not end within
/// the first `from` bytes.
fn end_of_head(head: &[u8], from: usize) -> Option<usize> {
    const LONGEST: usize = b"\n\r\n".len();
    let start = from.saturating_sub(LONGEST - 1);
    let ends =
        |line: &'static [u8]| memmem::find(&head[start..], line).map(|at| start + at + line.len());
    match (ends(b"\n\r\n"), ends(b"\n\n")) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The code and the reason of the status line.
fn status(head: &[u8]) -> Result<(u16, String), ConnectCause> {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let parsed = || {
        let (version, rest) = line.split_once(' ')?;
        let (code, words) = rest.trim().split_once(' ').unwrap_or((rest.trim(), ""));
        let is_code = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit());
        let code = code.parse().ok().filter(|_| is_code)?;
        matches!(version, "HTTP/1.0" | "HTTP/1.1").then(|| (code, tame(words)))
    };
    parsed().ok_or_else(|| ConnectCause::Proxy("what it answers is no HTTP/1.1".into()))
}

/// Words that may be shown in a terminal.
fn tame(words: &str) -> String {
    let shown = words.chars().filter(|c| !c.is_control());
    shown.take(MAX_WORDS).collect()
}
