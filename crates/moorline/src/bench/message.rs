//! What is sent and what must come back.

use moorline_net::Framing;

use super::target::Target;

/// Writes requests and the answers an echo must give to them.
#[derive(Debug, Clone)]
pub(super) enum Codec {
    /// What a framing puts around the payload.
    Stream(Framing),
    /// Binary messages after a handshake (RFC 6455).
    WebSocket { handshake: Vec<u8> },
}

impl Codec {
    /// Fails if messages of `size` bytes do not go through the framing as they are.
    pub(super) fn new(target: &Target, framing: &Framing, size: usize) -> Result<Self, String> {
        if let Some((path, host)) = target.web_socket() {
            return Ok(Self::WebSocket {
                handshake: handshake(path, host),
            });
        }
        let mut framing = framing.clone();
        match &mut framing {
            Framing::Length(length) if length.keep_header => {
                return Err(
                    "a header that holds more than the length is the app's: bench has none to send"
                        .to_owned(),
                );
            }
            Framing::Delimiter(delimiter)
                if delimiter.delimiter.iter().all(|&byte| is_payload(byte)) =>
            {
                return Err("such a delimiter may stand in the messages that bench sends: only one with a byte below @ or above 0x7f does not".to_owned());
            }
            // Messages should meet the server's maximum, not this one.
            Framing::Length(length) => length.max = u64::MAX,
            Framing::Delimiter(delimiter) => delimiter.max = u64::MAX,
            Framing::Line { max } => *max = u64::MAX,
            _ => {}
        }
        framing
            .envelope(&[], size, false)
            .map_err(|error| error.to_string())?;
        Ok(Self::Stream(framing))
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Stream(framing) => framing.name(),
            Self::WebSocket { .. } => "websocket",
        }
    }

    /// Overwrites `request` with a connection's request of this number, and `answer` with what an echo
    /// makes of it, or with nothing if that is the request itself. Allocates the first time only.
    pub(super) fn write(
        &self,
        request: &mut Vec<u8>,
        answer: &mut Vec<u8>,
        connection: u32,
        sequence: u64,
        size: usize,
    ) {
        request.clear();
        answer.clear();
        match self {
            Self::Stream(framing) => {
                let envelope = framing
                    .envelope(&[], size, false)
                    .expect("`new` allows no message that does not fit");
                request.extend_from_slice(envelope.prefix());
                append_payload(request, connection, sequence, size);
                request.extend_from_slice(envelope.suffix());
            }
            Self::WebSocket { .. } => {
                append_frame_header(answer, size, UNMASKED);
                append_payload(answer, connection, sequence, size);
                append_frame_header(request, size, MASKED);
                request.extend_from_slice(&MASK);
                let start = request.len();
                append_payload(request, connection, sequence, size);
                for bytes in request[start..].chunks_mut(MASK.len()) {
                    for (byte, mask) in bytes.iter_mut().zip(MASK) {
                        *byte ^= mask;
                    }
                }
            }
        }
    }
}

/// Appends `size` printable bytes that no other request of any connection has, so that a late answer or one of another
/// connection is recognised.
fn append_payload(out: &mut Vec<u8>, connection: u32, sequence: u64, size: usize) {
    // Six bits of each byte, set as `is_payload` says: a payload has no line end in it and is valid UTF-8.
    const KEEP: u64 = 0x3f3f_3f3f_3f3f_3f3f;
    const PRINTABLE: u64 = 0x4040_4040_4040_4040;
    let start = out.len();
    out.resize(start + size, 0);
    let mut word = scramble(sequence ^ scramble(u64::from(connection) + 1));
    for bytes in out[start..].chunks_mut(8) {
        bytes.copy_from_slice(&(word & KEEP | PRINTABLE).to_le_bytes()[..bytes.len()]);
        word = word.rotate_left(23).wrapping_mul(GOLDEN);
    }
}

/// Whether a payload may hold this byte.
fn is_payload(byte: u8) -> bool {
    matches!(byte, 0x40..=0x7f)
}

/// 2⁶⁴ divided by the golden ratio, odd: the step of SplitMix64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// One step of SplitMix64: neighbouring inputs give unrelated outputs.
fn scramble(seed: u64) -> u64 {
    let mut word = seed.wrapping_add(GOLDEN);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

const MASKED: u8 = 0x80;
const UNMASKED: u8 = 0;

/// Clients must mask (RFC 6455 §5.3). That prevents attacks through proxies. There are none here, so one key is enough.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The header of one binary message in one frame (RFC 6455 §5.2), without its mask.
fn append_frame_header(out: &mut Vec<u8>, size: usize, mask_bit: u8) {
    const FINAL_BINARY: u8 = 0x82;
    out.push(FINAL_BINARY);
    match (u8::try_from(size), u16::try_from(size)) {
        (Ok(short @ 0..126), _) => out.push(mask_bit | short),
        (_, Ok(medium)) => {
            out.push(mask_bit | 126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(mask_bit | 127);
            out.extend_from_slice(&(size as u64).to_be_bytes());
        }
    }
}

/// The example of RFC 6455 §1.3, whose answer is known without hashing.
const HANDSHAKE_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const HANDSHAKE_ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn handshake(path: &str, host: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {HANDSHAKE_KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    .into_bytes()
}

/// Looks at what came in answer to the handshake: `None` until its head is complete, then the head's
/// length, or its first line if it does not accept.
pub(super) fn accepted(response: &[u8]) -> Option<Result<usize, String>> {
    let end = find(response, b"\r\n\r\n")? + 4;
    let head = &response[..end];
    if head.starts_with(b"HTTP/1.1 101") && find(head, HANDSHAKE_ACCEPT).is_some() {
        return Some(Ok(end));
    }
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or(head);
    Some(Err(String::from_utf8_lossy(line).into_owned()))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

#[cfg(test)]
pub(super) mod tests {
    use moorline_net::{Counts, Length};

    use super::*;

    pub(in crate::bench) fn length() -> Codec {
        Codec::Stream(Framing::Length(Length::default()))
    }

    fn codec(framing: Framing, size: usize) -> Result<Codec, String> {
        Codec::new(&"tcp://127.0.0.1:1".parse().unwrap(), &framing, size)
    }

    fn write(codec: &Codec, connection: u32, sequence: u64, size: usize) -> (Vec<u8>, Vec<u8>) {
        let (mut request, mut answer) = (Vec::new(), Vec::new());
        codec.write(&mut request, &mut answer, connection, sequence, size);
        (request, answer)
    }

    #[test]
    fn no_two_requests_are_alike() {
        let mut seen = std::collections::HashSet::new();
        for connection in 0..100 {
            for sequence in 0..100 {
                assert!(
                    seen.insert(write(&Codec::Stream(Framing::Raw), connection, sequence, 16).0)
                );
            }
        }
    }

    #[test]
    fn a_length_counts_the_payload_unless_told_otherwise() {
        let (request, answer) = write(&length(), 1, 2, 300);
        assert_eq!(request[..4], [0, 0, 1, 44]);
        assert_eq!((request.len(), answer.len()), (304, 0));
        let message = Length::default().counts(Counts::Message).width(2);
        let codec = codec(Framing::Length(message.clone()), 300).unwrap();
        assert_eq!(write(&codec, 1, 2, 300).0[..2], [1, 46]);
    }

    #[test]
    fn a_framing_that_messages_do_not_pass_is_refused() {
        let short = Length::default().width(1);
        assert!(codec(Framing::Length(short.clone()), 255).is_ok());
        assert!(codec(Framing::Length(short), 256).is_err());
        let kept = Length::default().keep_header(true);
        assert!(codec(Framing::Length(kept), 8).is_err());
        for (delimiter, passes) in [("\r\n", true), ("END\0", true), ("END", false)] {
            let delimiter = moorline_net::Delimiter::new(delimiter, 4);
            assert_eq!(codec(Framing::Delimiter(delimiter), 8).is_ok(), passes);
        }
    }

    #[test]
    fn a_line_has_one_line_end() {
        for sequence in 0..1000 {
            let (request, _) = write(
                &codec(Framing::Line { max: 1 }, 64).unwrap(),
                7,
                sequence,
                64,
            );
            let ends = request.iter().filter(|&&byte| byte < b'@').count();
            assert_eq!((ends, request.last()), (1, Some(&b'\n')));
        }
    }

    #[test]
    fn a_web_socket_answer_is_the_request_unmasked() {
        let codec = Codec::WebSocket {
            handshake: Vec::new(),
        };
        for (size, header) in [(5, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let (request, answer) = write(&codec, 3, 4, size);
            assert_eq!(answer.len(), header + size);
            assert_eq!(request.len(), header + 4 + size);
            assert_eq!(request[header..header + 4], MASK);
            assert_eq!(request[1] & !MASKED, answer[1]);
            let unmasked: Vec<u8> = request[header + 4..]
                .iter()
                .zip(MASK.iter().cycle())
                .map(|(byte, mask)| byte ^ mask)
                .collect();
            assert!(unmasked == answer[header..]);
        }
    }

    #[test]
    fn a_handshake_is_accepted_by_its_key() {
        let head = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        assert_eq!(accepted(&head[..20]), None);
        assert_eq!(accepted(head), Some(Ok(head.len())));
        let refusal = b"HTTP/1.1 404 Not Found\r\n\r\n";
        assert_eq!(
            accepted(refusal),
            Some(Err("HTTP/1.1 404 Not Found".to_owned()))
        );
    }
}
