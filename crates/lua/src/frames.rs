//! The frames of `http.websocket` (RFC 6455 §5), of servers and of clients.
//!
//! Scripts depend on some things that the standard refuses: services written for skynet send frames without a mask as clients, bytes
//! that are no UTF-8 as text, and any status code. These are let pass.

use std::cell::RefCell;

use mlua::{AnyUserData, Function, IntoLuaMulti, Lua, LuaString, MultiValue, UserData, Value};

use crate::closing;
use crate::sys::Charge;
use moorline_net::websocket::{MAX_CONTROL_BYTES, Opcode, Violation, unmask, whole_frame};

/// The most bytes in a frame, as skynet has it.
const MOST_FRAME_BYTES: usize = 256 << 10;
/// What a reader keeps of a buffer that it has emptied.
const KEPT_BYTES: usize = 4 << 10;

const FIN: u8 = 0x80;
const RESERVED_BITS: u8 = 0x70;
const MASKED: u8 = 0x80;

/// What a connection has received and not handed on.
#[derive(Debug)]
struct FrameReader {
    bytes: Vec<u8>,
    /// So much of it is done with.
    at: usize,
    fragments: Option<FrameFragments>,
    /// The most bytes in a message of several frames.
    most: usize,
}

/// A message whose last frame is missing.
#[derive(Debug)]
struct FrameFragments {
    opcode: Opcode,
    payload: Vec<u8>,
}

/// The beginning of a frame.
#[derive(Debug)]
struct FrameHead {
    is_final: bool,
    opcode: Opcode,
    mask: Option<[u8; 4]>,
    /// Its own bytes.
    length: usize,
    /// Those of the payload.
    size: usize,
}

/// What has come.
#[derive(Debug, PartialEq, Eq)]
enum ReadFrame {
    /// This much of the buffer, from here on, is the payload.
    Whole(Opcode, usize, usize),
    Message(Opcode, Vec<u8>),
}

/// Why a connection ends: what the script is told, and the status code for the peer.
#[derive(Debug, PartialEq, Eq)]
struct BrokenFrame(String, u16);

/// A script's handle of a reader. What it holds counts as memory of the script's.
struct ScriptFrames(RefCell<FrameReader>, RefCell<Charge>);

impl UserData for ScriptFrames {}

impl From<Violation> for BrokenFrame {
    fn from(violation: Violation) -> Self {
        Self(violation.to_string(), violation.close_code())
    }
}

impl FrameReader {
    fn new(most: usize) -> Self {
        Self {
            bytes: Vec::new(),
            at: 0,
            fragments: None,
            most,
        }
    }

    /// Bytes that it holds.
    fn held(&self) -> usize {
        let fragments = self.fragments.as_ref();
        self.bytes.len() - self.at + fragments.map_or(0, |fragments| fragments.payload.len())
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        if self.bytes.is_empty() {
            self.bytes.shrink_to(KEPT_BYTES);
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next control frame or message, if it is whole.
    fn next(&mut self) -> Result<Option<ReadFrame>, BrokenFrame> {
        while let Some(head) = self.head()? {
            let start = self.at + head.length;
            let end = start + head.size;
            let Some(payload) = self.bytes.get_mut(start..end) else {
                return Ok(None);
            };
            if let Some(mask) = head.mask {
                unmask(payload, mask);
            }
            self.at = end;
            if head.opcode.is_control() || head.is_final && self.fragments.is_none() {
                return Ok(Some(ReadFrame::Whole(head.opcode, start, end)));
            }
            let mut fragments = self.fragments.take().unwrap_or_else(|| FrameFragments {
                opcode: head.opcode,
                payload: Vec::new(),
            });
            fragments.payload.extend_from_slice(payload);
            if head.is_final {
                let FrameFragments { opcode, payload } = fragments;
                return Ok(Some(ReadFrame::Message(opcode, payload)));
            }
            self.fragments = Some(fragments);
        }
        Ok(None)
    }

    /// The head of the frame that comes next, checked; none if it is not whole.
    fn head(&self) -> Result<Option<FrameHead>, BrokenFrame> {
        let [first, second, rest @ ..] = &self.bytes[self.at..] else {
            return Ok(None);
        };
        if first & RESERVED_BITS != 0 {
            return Err(Violation::ReservedBits.into());
        }
        let (is_final, opcode) = (first & FIN != 0, Opcode::of(*first)?);
        self.check_order(opcode, is_final)?;
        let short = usize::from(second & !MASKED);
        if opcode.is_control() && short > MAX_CONTROL_BYTES {
            return Err(Violation::ControlTooLong.into());
        }
        let (size, field) = match short {
            126 => match rest.first_chunk() {
                Some(size) => (u64::from(u16::from_be_bytes(*size)), 2),
                None => return Ok(None),
            },
            127 => match rest.first_chunk() {
                Some(size) => (u64::from_be_bytes(*size), 8),
                None => return Ok(None),
            },
            short => (short as u64, 0),
        };
        let size = usize::try_from(size).ok();
        let size = size.filter(|size| *size <= MOST_FRAME_BYTES && self.has_room(opcode, *size));
        let Some(size) = size else {
            return Err(BrokenFrame("payload_len is too large".to_owned(), 1009));
        };
        let mask = match second & MASKED {
            0 => None,
            _ => match rest[field..].first_chunk() {
                Some(mask) => Some(*mask),
                None => return Ok(None),
            },
        };
        Ok(Some(FrameHead {
            is_final,
            opcode,
            mask,
            length: 2 + field + mask.map_or(0, |mask| mask.len()),
            size,
        }))
    }

    /// Whether a frame of this kind may come now.
    fn check_order(&self, opcode: Opcode, is_final: bool) -> Result<(), Violation> {
        match (opcode, &self.fragments) {
            (opcode, _) if opcode.is_control() => match is_final {
                true => Ok(()),
                false => Err(Violation::ControlFragmented),
            },
            (Opcode::Continuation, None) => Err(Violation::NothingToContinue),
            (Opcode::Text | Opcode::Binary, Some(_)) => Err(Violation::FragmentsUnfinished),
            _ => Ok(()),
        }
    }

    fn has_room(&self, opcode: Opcode, size: usize) -> bool {
        let before = self.fragments.as_ref();
        let before = before.map_or(0, |fragments| fragments.payload.len());
        opcode.is_control() || before + size <= self.most
    }
}

/// The function with a name, or none.
pub(crate) fn function(lua: &Lua, name: &str) -> mlua::Result<Option<Function>> {
    let function = match name {
        "websocket_reader" => closing::function(lua, |lua, most: usize| {
            let reader = FrameReader::new(most);
            let charge = RefCell::new(Charge::new(lua, 0)?);
            Ok(ScriptFrames(RefCell::new(reader), charge))
        }),
        "websocket_next" => closing::function(
            lua,
            |lua, (reader, text): (AnyUserData, Option<LuaString>)| {
                let frames = reader.borrow::<ScriptFrames>()?;
                let mut reader = frames.0.borrow_mut();
                if let Some(text) = text {
                    let held = reader.held() + text.as_bytes().len();
                    frames.1.borrow_mut().resize(lua, held)?;
                    reader.push(&text.as_bytes());
                }
                next_values(lua, &mut reader)
            },
        ),
        "websocket_frame" => closing::function(
            lua,
            |lua, (kind, payload, key): (LuaString, Option<LuaString>, Value)| {
                let mut frame = Vec::new();
                let payload = payload.as_ref().map(LuaString::as_bytes);
                let payload = payload.as_deref().unwrap_or_default();
                let Some((opcode, mask)) = opcode(&kind.as_bytes()).zip(mask(&key)?) else {
                    return Ok(None);
                };
                whole_frame(opcode, payload, mask, &mut frame);
                lua.create_string(frame).map(Some)
            },
        ),
        _ => return Ok(None),
    };
    function.map(Some)
}

/// The kind and the payload, of a close frame also its code and its reason; nothing if more must be received; or false, a reason to
/// end, and a status code.
fn next_values(lua: &Lua, reader: &mut FrameReader) -> mlua::Result<MultiValue> {
    let owned;
    let (opcode, payload) = match reader.next() {
        Ok(Some(ReadFrame::Whole(opcode, start, end))) => (opcode, &reader.bytes[start..end]),
        Ok(Some(ReadFrame::Message(opcode, payload))) => {
            owned = payload;
            (opcode, owned.as_slice())
        }
        Ok(None) => return Ok(MultiValue::new()),
        Err(BrokenFrame(why, code)) => return (false, why, code).into_lua_multi(lua),
    };
    let text = lua.create_string(payload)?;
    match payload.split_first_chunk() {
        Some((code, reason)) if opcode == Opcode::Close => {
            let (code, reason) = (u16::from_be_bytes(*code), lua.create_string(reason)?);
            (name(opcode), text, code, reason).into_lua_multi(lua)
        }
        _ => (name(opcode), text).into_lua_multi(lua),
    }
}

const NAMES: [(Opcode, &str); 6] = [
    (Opcode::Continuation, "frame"),
    (Opcode::Text, "text"),
    (Opcode::Binary, "binary"),
    (Opcode::Close, "close"),
    (Opcode::Ping, "ping"),
    (Opcode::Pong, "pong"),
];

fn name(opcode: Opcode) -> &'static str {
    let found = NAMES.iter().find(|(known, _)| *known == opcode);
    found.map_or("frame", |(_, name)| *name)
}

fn opcode(name: &[u8]) -> Option<Opcode> {
    let found = NAMES.iter().find(|(_, known)| known.as_bytes() == name);
    found.map(|(opcode, _)| *opcode)
}

/// The mask that a script gives as a number; one by chance for `true`. None if it is no number of 32 bits.
fn mask(key: &Value) -> mlua::Result<Option<Option<[u8; 4]>>> {
    Ok(match key {
        Value::Nil | Value::Boolean(false) => Some(None),
        Value::Boolean(true) => {
            let mut mask = [0; 4];
            getrandom::fill(&mut mask).map_err(mlua::Error::external)?;
            Some(Some(mask))
        }
        key => {
            let number = key.as_integer().and_then(|key| u32::try_from(key).ok());
            number.map(|number| Some(number.to_be_bytes()))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &[u8]) -> FrameReader {
        let mut reader = FrameReader::new(MOST_FRAME_BYTES);
        reader.push(bytes);
        reader
    }

    #[test]
    fn a_message_comes_whole_however_it_was_cut() {
        let mut frames = vec![0x01, 3, b'o', b'n', b'e', 0x89, 0, 0x00, 0];
        whole_frame(
            Opcode::Continuation,
            b" two",
            Some([1, 2, 3, 4]),
            &mut frames,
        );
        for size in 1..frames.len() {
            let mut reader = reader(&[]);
            let mut found = Vec::new();
            for piece in frames.chunks(size) {
                reader.push(piece);
                while let Some(frame) = reader.next().expect("nothing is broken") {
                    found.push(match frame {
                        ReadFrame::Whole(opcode, start, end) => {
                            ReadFrame::Message(opcode, reader.bytes[start..end].to_vec())
                        }
                        whole => whole,
                    });
                }
            }
            let expected = [
                ReadFrame::Message(Opcode::Ping, Vec::new()),
                ReadFrame::Message(Opcode::Text, b"one two".to_vec()),
            ];
            assert_eq!(found, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn what_the_standard_refuses_is_refused_at_its_first_bytes() {
        let mut unfinished = vec![0x01, 1, b'a'];
        unfinished.extend([0x81, 0]);
        for (bytes, code) in [
            (&[0xc1, 0][..], 1002),
            (&[0x83, 0], 1002),
            (&[0x09, 0], 1002),
            (&[0x89, 126], 1002),
            (&[0x80, 0], 1002),
            (&unfinished, 1002),
            (&[0x82, 127, 0, 0, 0, 0, 0, 4, 0, 1], 1009),
            (&[0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255], 1009),
        ] {
            let broken = reader(bytes).next().expect_err("it is refused");
            assert_eq!(broken.1, code, "{bytes:x?}: {broken:?}");
        }
    }

    #[test]
    fn the_fragments_of_a_message_are_bounded() {
        let fragment = |opcode: u8| {
            let mut frame = vec![opcode, 127, 0, 0, 0, 0, 0, 2, 0, 0];
            frame.resize(frame.len() + (128 << 10), 0);
            frame
        };
        let mut reader = reader(&fragment(0x02));
        reader.push(&fragment(0x00));
        assert_eq!(reader.next(), Ok(None));
        reader.push(&[0x00, 1]);
        let broken = reader.next().expect_err("it is one byte too many");
        assert_eq!(
            broken,
            BrokenFrame("payload_len is too large".to_owned(), 1009)
        );
    }
}
