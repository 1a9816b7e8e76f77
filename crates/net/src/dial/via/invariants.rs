//! What holds for any answer of a proxy.

use std::io;
use std::iter::{Copied, Cycle};
use std::pin::Pin;
use std::slice;
use std::task::{Context, Poll};

use arbitrary::{Result, Unstructured};
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::http_connect::{ProxyAnswer, request};
use super::*;

/// Any target, any credentials, any answer in pieces of any size: the request says one thing only, the
/// verdict does not depend on the pieces, and not a byte is taken from the target.
pub fn proxy(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(asked) = Asked::any(&mut input) else {
        return;
    };
    let answer = input.take_rest();
    asked.over_http(answer);
    asked.over_socks5(answer);
}

struct Asked {
    target: HostPort,
    credentials: Option<Credentials>,
    pieces: Vec<usize>,
}

impl Asked {
    fn any(input: &mut Unstructured<'_>) -> Result<Self> {
        let text = |input: &mut Unstructured<'_>| -> Result<String> {
            let length = input.arbitrary::<u8>()? % 16;
            let bytes = input.bytes(usize::from(length).min(input.len()))?;
            // Long enough now and then to be refused for its length.
            let times = if bytes.len() == 15 { 18 } else { 1 };
            Ok(String::from_utf8_lossy(bytes).repeat(times))
        };
        let pieces: [u8; 3] = input.arbitrary()?;
        let with_credentials = input.arbitrary()?;
        Ok(Self {
            pieces: pieces.map(|size| usize::from(size) + 1).into(),
            target: HostPort {
                host: text(input)?,
                port: input.arbitrary()?,
            },
            credentials: match with_credentials {
                true => Some(Credentials {
                    user: text(input)?,
                    password: text(input)?,
                }),
                false => None,
            },
        })
    }

    fn over_http(&self, answer: &[u8]) {
        if let Ok(request) = request(&self.target, self.credentials.as_ref()) {
            let lines = 3 + usize::from(self.credentials.is_some());
            let request = String::from_utf8(request).expect("a request is ASCII");
            assert_eq!(request.matches(['\r', '\n']).count(), 2 * lines);
            assert!(request.ends_with("\r\n\r\n"));
        }
        let whole = self.hear(answer, &[]);
        assert_eq!(self.hear(answer, &self.pieces), whole);
        if let Some((taken, Ok(()))) = whole {
            let head = &answer[..taken];
            assert!(head.ends_with(b"\n\n") || head.ends_with(b"\n\r\n"));
        }
    }

    /// How many bytes of the answer were taken and what it says, if it has ended.
    fn hear(&self, answer: &[u8], pieces: &[usize]) -> Option<(usize, Result<(), String>)> {
        let mut parts = AnswerParts::new(answer, pieces);
        let mut heard = ProxyAnswer::new(self.credentials.as_ref());
        let mut taken = 0;
        while let Some(size) = parts.next_size(usize::MAX) {
            match heard.take(&answer[taken..][..size]) {
                Ok(part) => {
                    assert!((1..=size).contains(&part.bytes));
                    parts.taken += part.bytes;
                    taken += part.bytes;
                    if part.is_open {
                        return Some((taken, Ok(())));
                    }
                }
                // For refused answers the number of taken bytes does not matter.
                Err(error) => return Some((0, Err(shown(&error)))),
            }
        }
        None
    }

    fn over_socks5(&self, answer: &[u8]) {
        let whole = self.speak(answer, &[]);
        assert_eq!(self.speak(answer, &self.pieces), whole);
        if let (taken, _, Ok(())) = whole {
            // Two replies, the second with an address: an empty name is the shortest. At most, a password's
            // reply and the longest name too.
            assert!((2 + 7..=2 + 2 + 262).contains(&taken), "{taken} taken");
        }
    }

    /// How many bytes of the answer were taken, the message, and the verdict.
    fn speak(&self, answer: &[u8], pieces: &[usize]) -> (usize, Vec<u8>, Result<(), String>) {
        let mut proxy = Proxy {
            answer: AnswerParts::new(answer, pieces),
            heard: Vec::new(),
        };
        let opened = socks5::open(&mut proxy, &self.target, self.credentials.as_ref())
            .now_or_never()
            .expect("a proxy that never makes wait is never waited for");
        let verdict = opened.map_err(|error| shown(&error));
        (proxy.answer.taken, proxy.heard, verdict)
    }
}

/// An error as people see it: on a terminal.
fn shown(error: &ConnectCause) -> String {
    let text = error.to_string();
    assert!(!text.chars().any(char::is_control), "{text:?}");
    text
}

/// The bytes that arrive, in pieces of these sizes over and over; no sizes: as much as is asked for.
struct AnswerParts<'a> {
    bytes: &'a [u8],
    taken: usize,
    sizes: Cycle<Copied<slice::Iter<'a, usize>>>,
}

impl<'a> AnswerParts<'a> {
    fn new(bytes: &'a [u8], sizes: &'a [usize]) -> Self {
        Self {
            bytes,
            taken: 0,
            sizes: sizes.iter().copied().cycle(),
        }
    }

    /// How much comes next where there is room for so much; nothing at the end.
    fn next_size(&mut self, room: usize) -> Option<usize> {
        let left = self.bytes.len() - self.taken;
        let size = self.sizes.next().unwrap_or(left);
        Some(size.min(left).min(room)).filter(|size| *size > 0)
    }
}

/// A proxy that has all its answers ready.
struct Proxy<'a> {
    answer: AnswerParts<'a>,
    heard: Vec<u8>,
}

impl AsyncRead for Proxy<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let answer = &mut self.answer;
        if let Some(size) = answer.next_size(out.remaining()) {
            out.put_slice(&answer.bytes[answer.taken..][..size]);
            answer.taken += size;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Proxy<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.heard.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_head_may_have_16_kib_however_it_is_cut() {
    let asked = Asked {
        target: HostPort {
            host: "h".into(),
            port: 1,
        },
        credentials: None,
        pieces: Vec::new(),
    };
    let head = |bytes: usize| {
        let mut head = b"HTTP/1.1 200 OK\r\nVia: ".to_vec();
        head.resize(bytes - 4, b'x');
        head.extend_from_slice(b"\r\n\r\n");
        head
    };
    let refused = "its answer has no end within 16 KiB";
    for pieces in [&[][..], &[1024], &[1, 1024], &[1000]] {
        assert_eq!(asked.hear(&head(16_384), pieces), Some((16_384, Ok(()))));
        let heard = asked.hear(&head(16_385), pieces);
        assert!(
            matches!(&heard, Some((0, Err(said))) if said.contains(refused)),
            "{heard:?}"
        );
    }
}
