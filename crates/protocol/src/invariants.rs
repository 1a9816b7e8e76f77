//! Invariants of any message from another process: one function for each target of `fuzz/`. The tests here replay the
//! inputs in `fuzz/corpus`.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::command;
use crate::control::{FromRole, ToRole};
use crate::control_channel::{decode, encode};
use crate::flight::{FlightText, Recording};
use crate::wire::{
    Answer, CloseReason, Closing, FileSpan, FromProcess, Opening, Peer, Question, SessionData,
    ToProcess, split_datagram,
};

/// Any packet on a control channel and any line on the control socket: a message that is encoded again stays the same.
pub fn control(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else {
        return;
    };
    match which % 4 {
        0 => assert_message::<ToRole>(bytes),
        1 => assert_message::<FromRole>(bytes),
        2 => assert_line::<command::Request>(bytes),
        _ => assert_line::<command::Response>(bytes),
    }
}

/// Any record of a ring: what has a meaning has one only.
pub fn record(data: &[u8]) {
    let Some(([kind, aux @ ..], payload)) = data.split_first_chunk::<3>() else {
        return;
    };
    assert!(ToProcess::from_u8(*kind).is_none_or(|named| named as u8 == *kind));
    assert!(FromProcess::from_u8(*kind).is_none_or(|named| named as u8 == *kind));
    let reason = u16::from_le_bytes(*aux);
    assert!(CloseReason::from_u16(reason).is_none_or(|named| named as u16 == reason));
    assert_message::<Opening>(payload);
    assert_message::<Closing>(payload);
    assert_message::<Peer>(payload);
    assert_message::<SessionData>(payload);
    assert_message::<FileSpan>(payload);
    assert_message::<Question>(payload);
    assert_message::<Answer>(payload);
    if let Some((peer, bytes)) = split_datagram(payload) {
        assert!(payload.ends_with(bytes));
        let address = encode(&peer).expect("an address can be sent");
        let length = u8::try_from(address.len()).expect("an address is short");
        let again = [&[length], address.as_slice(), bytes].concat();
        assert_eq!(split_datagram(&again), Some((peer, bytes)));
    }
}

/// Any file that is read as a recording of the flight recorder: what is read stays the same, every record is told, in order, and no
/// text of it steers a terminal.
pub fn recording(data: &[u8]) {
    let Ok(recording) = Recording::decode(data) else {
        return;
    };
    // A head that had left out what may be left out may be too long with it.
    if let Ok(bytes) = recording.encode() {
        let again = Recording::decode(bytes.as_slice()).expect("what was written can be read");
        assert_eq!(again, recording);
    }
    let timeline = recording.timeline();
    let records: usize = recording.records.iter().map(Vec::len).sum();
    assert_eq!(timeline.len(), records);
    assert!(timeline.is_sorted_by_key(|entry| entry.at_ns));
    let listeners = &recording.head.listeners;
    let events = timeline.iter().filter_map(|entry| entry.event.as_ref());
    let texts = events.map(|event| FlightText { event, listeners }.to_string());
    let names = recording.head.threads.iter().map(|thread| thread.name());
    for text in texts.chain(names) {
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}

/// Encodings are compared, since there may be several of one message (and not every message can be compared).
fn assert_message<M: Serialize + DeserializeOwned + Debug>(bytes: &[u8]) {
    let Ok(message) = decode::<M>(bytes) else {
        return;
    };
    let sent = encode(&message).expect("what was received can be sent");
    let again = decode::<M>(&sent).expect("what was sent can be received");
    assert_eq!(encode(&again).ok(), Some(sent), "{message:?}");
}

fn assert_line<M: Serialize + DeserializeOwned + Debug + PartialEq>(bytes: &[u8]) {
    let Ok(message) = serde_json::from_slice::<M>(bytes) else {
        return;
    };
    let sent = serde_json::to_string(&message).expect("what was received can be sent");
    assert!(!sent.contains('\n'));
    assert_eq!(
        serde_json::from_str::<M>(&sent).ok().as_ref(),
        Some(&message)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    include!("../../../fuzz/replay.rs");

    #[test]
    fn kept_inputs_break_no_invariant_of_control_messages() {
        replay("control", control);
    }

    #[test]
    fn kept_inputs_break_no_invariant_of_records() {
        replay("record", record);
    }

    #[test]
    fn kept_inputs_break_no_invariant_of_recordings() {
        replay("recording", recording);
    }
}
