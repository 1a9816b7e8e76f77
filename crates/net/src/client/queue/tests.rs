//! The queue against one that keeps every message apart.

use proptest::prelude::*;

use super::*;
use crate::framing::{Framing, Length};

fn framing() -> Framing {
    Framing::Length(Length::default())
}

fn push(queue: &mut Queue, payload: &[u8]) {
    let framing = framing();
    let envelope = framing.envelope(payload, payload.len(), false).unwrap();
    queue.push(&envelope, payload, 0);
}

/// What goes over the wire for a payload.
fn packet(payload: &[u8]) -> Vec<u8> {
    let mut packet = (payload.len() as u32).to_be_bytes().to_vec();
    packet.extend_from_slice(payload);
    packet
}

fn write(queue: &mut Queue, most: usize) -> Vec<u8> {
    let Some(Front::Bytes(bytes)) = queue.front() else {
        return Vec::new();
    };
    let wrote = bytes[..bytes.len().min(most)].to_vec();
    queue.wrote(wrote.len());
    wrote
}

#[test]
fn a_message_of_which_a_part_was_written_begins_again_for_another_connection() {
    let mut queue = Queue::default();
    push(&mut queue, b"one");
    push(&mut queue, b"two");
    assert_eq!(write(&mut queue, 9), [packet(b"one"), vec![0, 0]].concat());
    assert_eq!(queue.unwritten(), 5);
    queue.rewind();
    assert_eq!(queue.unwritten(), 7);
    assert_eq!(write(&mut queue, 100), packet(b"two"));
    assert!(queue.is_empty());
}

#[test]
fn discarded_messages_are_counted() {
    let mut queue = Queue::default();
    push(&mut queue, b"one");
    push(&mut queue, b"two");
    push(&mut queue, b"three");
    write(&mut queue, 8);
    assert_eq!(
        queue.clear(),
        Lost {
            messages: 2,
            bytes: 15
        }
    );
    assert_eq!((queue.is_empty(), queue.unwritten()), (true, 0));
}

#[derive(Debug, Clone)]
enum Input {
    Push(usize),
    Write(usize),
    Append(Vec<usize>),
    Reconnect,
}

fn input() -> impl Strategy<Value = Input> {
    let size = || prop_oneof![8 => 0..300_usize, 1 => 60_000..140_000_usize];
    prop_oneof![
        4 => size().prop_map(Input::Push),
        4 => prop_oneof![0..400_usize, Just(usize::MAX)].prop_map(Input::Write),
        1 => prop::collection::vec(size(), 0..4).prop_map(Input::Append),
        1 => Just(Input::Reconnect),
    ]
}

proptest! {
    #[test]
    fn each_connection_gets_whole_messages_in_order(inputs in prop::collection::vec(input(), 0..120)) {
        let mut queue = Queue::default();
        // What is to arrive, message by message, and how much of the first did on this connection.
        let mut expected: VecDeque<Vec<u8>> = VecDeque::new();
        let mut arrived = 0;
        let mut serial = 0_u8;
        let mut payload = |size: usize| {
            serial = serial.wrapping_add(1);
            vec![serial; size]
        };
        for input in inputs {
            match input {
                Input::Push(size) => {
                    let payload = payload(size);
                    push(&mut queue, &payload);
                    expected.push_back(packet(&payload));
                }
                Input::Append(sizes) => {
                    let mut other = Queue::default();
                    for size in sizes {
                        let payload = payload(size);
                        push(&mut other, &payload);
                        expected.push_back(packet(&payload));
                    }
                    queue.append(&mut other);
                    prop_assert!(other.is_empty() && other.unwritten() == 0);
                }
                Input::Write(most) => {
                    let wrote = write(&mut queue, most);
                    let mut wrote = &wrote[..];
                    while !wrote.is_empty() {
                        let first = &expected[0][arrived..];
                        let bytes = wrote.len().min(first.len());
                        prop_assert!(wrote[..bytes] == first[..bytes]);
                        arrived += bytes;
                        wrote = &wrote[bytes..];
                        if arrived == expected[0].len() {
                            expected.pop_front();
                            arrived = 0;
                        }
                    }
                }
                Input::Reconnect => {
                    queue.rewind();
                    arrived = 0;
                }
            }
            let waits = expected.iter().map(Vec::len).sum::<usize>() - arrived;
            prop_assert_eq!(queue.unwritten(), waits as u64);
            prop_assert_eq!(queue.is_empty(), waits == 0);
        }
    }
}
