//! `CONNECT` over HTTP/1.1 (RFC 9110 §9.3.6), with basic authentication (RFC 7617).

use data_encoding::BASE64;
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Credentials;
use crate::address::HostPort;
use crate::dial::error::ConnectCause;

/// The longest answer, all its heads together: what servers commonly limit a head to.
const MAX_ANSWER_BYTES: usize = 16 << 10;

/// How much of a proxy's words is told.
const MAX_WORDS: usize = 100;

/// Asks the proxy at the other end of `stream` to connect to `target`. What it sends behind its answer is
/// the target's and stays in the socket.
pub(super) async fn open(
    stream: &mut TcpStream,
    target: &HostPort,
    credentials: Option<&Credentials>,
) -> Result<(), ConnectCause> {
    stream.write_all(&request(target, credentials)?).await?;
    let mut allowance = MAX_ANSWER_BYTES;
    loop {
        let head = read_head(stream, &mut allowance).await?;
        match status(&head)? {
            // Interim: the answer is still to come (RFC 9110 §15.2).
            (100..200, _) => {}
            (200..300, _) => return Ok(()),
            (407, words) if credentials.is_none() => {
                let words = format!("407 {words}: it wants a user and a password, give them");
                return Err(ConnectCause::Proxy(words));
            }
            (code, words) => return Err(ConnectCause::Proxy(format!("{code} {words}"))),
        }
    }
}

fn request(target: &HostPort, credentials: Option<&Credentials>) -> Result<Vec<u8>, ConnectCause> {
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

/// Reads up to the empty line and not a byte further.
async fn read_head(stream: &mut TcpStream, allowance: &mut usize) -> Result<Vec<u8>, ConnectCause> {
    let mut head = Vec::new();
    loop {
        let mut chunk = [0; 1024];
        let seen = stream.peek(&mut chunk).await?;
        if seen == 0 {
            return Err(ConnectCause::EndOfFile);
        }
        let before = head.len();
        head.extend_from_slice(&chunk[..seen]);
        let end = end_of_head(&head);
        let taken = end.unwrap_or(head.len()) - before;
        stream.read_exact(&mut chunk[..taken]).await?;
        *allowance = allowance.saturating_sub(taken);
        if let Some(end) = end {
            head.truncate(end);
            return Ok(head);
        }
        if *allowance == 0 {
            return Err(ConnectCause::Proxy(format!(
                "its answer has no end within {} KiB",
                MAX_ANSWER_BYTES >> 10
            )));
        }
    }
}

/// Where the empty line ends; its carriage returns may be missing (RFC 9112 §2.2).
fn end_of_head(head: &[u8]) -> Option<usize> {
    let ends = |line: &'static [u8]| memmem::find(head, line).map(|at| at + line.len());
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
