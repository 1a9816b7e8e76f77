//! `skynet.mongo.driver`: messages of MongoDB's protocol around documents.

use mlua::{AnyUserData, Lua, LuaString, Table};

use crate::bson::{BsonDocument, LONGEST};
use crate::module::{Module, failure};

/// The kind of message that all commands and answers are (`OP_MSG`).
const MESSAGE: i32 = 2013;
/// The length, the number, the number of the request that is answered, and the kind.
const HEAD: usize = 16;
/// Bit of a message with a checksum behind its sections.
const HAS_CHECKSUM: u32 = 1;
const CHECKSUM: usize = 4;
/// What is around a document in a message: the head, the flags, and the kind of the section.
const AROUND: usize = HEAD + 5;

/// The module's table.
pub(crate) fn module(lua: &Lua) -> mlua::Result<Table> {
    let module = Module::new(lua)?
        .function("length", |_, text: LuaString| length(&text.as_bytes()))?
        .function(
            "op_msg",
            |lua, (id, flags, document): (i64, u32, AnyUserData)| {
                let document = document.borrow::<BsonDocument>()?;
                lua.create_string(message(id as i32, flags, &document.bytes()))
            },
        )?
        .function("reply", |lua, text: LuaString| {
            let bytes = text.as_bytes();
            let (answered, document) = reply(&bytes)?;
            let document = BsonDocument::new(lua, document.to_vec())?;
            Ok((true, answered, document))
        })?;
    Ok(module.into_table())
}

/// How many bytes follow the four of a length.
fn length(bytes: &[u8]) -> mlua::Result<usize> {
    let length = <[u8; 4]>::try_from(bytes).map_err(|_| failure("a length has 4 bytes"))?;
    let length = i32::from_le_bytes(length);
    let counted = usize::try_from(length).ok();
    let counted = counted.filter(|length| (AROUND + 5..=LONGEST + AROUND).contains(length));
    match counted {
        Some(length) => Ok(length - 4),
        None => Err(failure(format!(
            "mongo: a message of the server has {length} bytes, and may have {}",
            LONGEST + AROUND
        ))),
    }
}

fn message(id: i32, flags: u32, document: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(AROUND + document.len());
    let length = (AROUND + document.len()) as i32;
    for number in [length, id, 0, MESSAGE] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(flags.to_le_bytes());
    bytes.push(0);
    bytes.extend_from_slice(document);
    bytes
}

/// Which request a message without its length answers, and the document in it.
fn reply(bytes: &[u8]) -> mlua::Result<(i32, &[u8])> {
    let short = || failure("mongo: a message of the server ends before what it says");
    let (head, body) = bytes.split_at_checked(AROUND - 4).ok_or_else(short)?;
    let number = |at: usize| {
        let mut word = [0; 4];
        word.copy_from_slice(&head[at..at + 4]);
        i32::from_le_bytes(word)
    };
    let (answered, kind, flags) = (number(4), number(8), number(12) as u32);
    if kind != MESSAGE {
        return Err(failure(format!(
            "mongo: the server sent a message of kind {kind}: it is older than MongoDB 3.6"
        )));
    }
    if head[16] != 0 {
        return Err(failure(
            "mongo: the server sent a section that is no answer",
        ));
    }
    let checksum = if flags & HAS_CHECKSUM == 0 {
        0
    } else {
        CHECKSUM
    };
    let (document, _) = body
        .split_at_checked(body.len().saturating_sub(checksum))
        .ok_or_else(short)?;
    Ok((answered, document))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_what_is_read() {
        let document = [5, 0, 0, 0, 0];
        let sent = message(7, 0, &document);
        let rest = length(&sent[..4]).expect("it is a length");
        assert_eq!(rest, sent.len() - 4);
        let mut answer = sent[4..].to_vec();
        answer[4] = 9;
        assert_eq!(reply(&answer).expect("it is whole"), (9, &document[..]));
        answer[12] = 1;
        answer.extend([1, 2, 3, 4]);
        assert_eq!(reply(&answer).expect("it is whole"), (9, &document[..]));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for wrong in [[0; 4], [25, 0, 0, 0], [255; 4], [0, 0, 0, 4]] {
            assert!(length(&wrong).is_err(), "{wrong:?}");
        }
        assert!(length(&[1, 2]).is_err());
        let answer = message(7, 0, &[5, 0, 0, 0, 0]);
        for end in 4..AROUND {
            assert!(reply(&answer[4..end]).is_err(), "{end}");
        }
        for (at, byte) in [(12, 1), (20, 1)] {
            let mut other = answer.clone();
            other[at] = byte;
            assert!(reply(&other[4..]).is_err(), "{at}");
        }
    }
}
