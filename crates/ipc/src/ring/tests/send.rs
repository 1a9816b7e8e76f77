//! Records go to sockets from where they lie, and come from sockets to their places.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;

use super::*;

/// A consumer with this payload in it.
fn consumer_with(payload: &[u8]) -> (Producer, Consumer) {
    let (mut producer, consumer, _) = ring(1 << 20);
    producer.push(&header(1), &[payload]).unwrap();
    let _ = producer.publish();
    (producer, consumer)
}

#[test]
fn prefix_payload_and_suffix_arrive_as_one() {
    let (_producer, mut consumer) = consumer_with(b"payload");
    let record = consumer.next().unwrap().unwrap();
    for (prefix, skip, suffix) in [
        (&b""[..], 0, &b""[..]),
        (b"<", 0, b">"),
        (b"", 3, b"\r\n"),
        (b"head:", 3, b""),
        (b"all", 7, b"gone"),
        (b"more", 8, b"gone"),
        (b"", usize::MAX, b""),
    ] {
        let (socket, mut peer) = UnixStream::pair().unwrap();
        let expected = [prefix, &b"payload"[skip.min(7)..], suffix].concat();
        assert_eq!(
            record.send(socket.as_fd(), prefix, skip, suffix).unwrap(),
            expected.len()
        );
        drop(socket);
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        assert_eq!(received, expected);
    }
}

#[test]
fn a_socket_that_takes_a_part_gets_the_rest_later() {
    let payload: Vec<u8> = (0..200_000u32).map(|i| (i * 7 / 3) as u8).collect();
    let prefix: Vec<u8> = (0..3_000u32).map(|i| i as u8).collect();
    let suffix = [0xa5; 3_000];
    let skip = 11;
    let (_producer, mut consumer) = consumer_with(&payload);
    let record = consumer.next().unwrap().unwrap();
    let (socket, mut peer) = UnixStream::pair().unwrap();
    rustix::net::sockopt::set_socket_send_buffer_size(&socket, 4096).unwrap();
    let expected = [&prefix, &payload[skip..], &suffix].concat();

    let mut sent = record.send(socket.as_fd(), &prefix, skip, &suffix).unwrap();
    assert!(
        sent < expected.len(),
        "the socket took {sent} bytes at once"
    );
    let reader = thread::spawn(move || {
        let mut received = Vec::new();
        peer.read_to_end(&mut received).map(|_| received)
    });
    while sent < expected.len() {
        let of_prefix = sent.min(prefix.len());
        let of_payload = (sent - of_prefix).min(payload.len() - skip);
        let of_suffix = sent - of_prefix - of_payload;
        match record.send(
            socket.as_fd(),
            &prefix[of_prefix..],
            skip + of_payload,
            &suffix[of_suffix..],
        ) {
            Ok(more) => sent += more,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut writable = [rustix::event::PollFd::new(
                    &socket,
                    rustix::event::PollFlags::OUT,
                )];
                rustix::event::poll(&mut writable, None).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }
    drop(socket);
    assert!(reader.join().unwrap().unwrap() == expected);
}

#[test]
fn a_full_or_closed_socket_says_so_and_nothing_is_lost() {
    let (_producer, mut consumer) = consumer_with(b"payload");
    let record = consumer.next().unwrap().unwrap();
    let (socket, peer) = UnixStream::pair().unwrap();
    let error = loop {
        if let Err(error) = record.send(socket.as_fd(), &[0; 4096], 0, b"") {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    drop(peer);
    assert_eq!(
        record.send(socket.as_fd(), b"", 0, b"").unwrap_err().kind(),
        ErrorKind::BrokenPipe
    );
    let mut out = Vec::new();
    record.copy_to(&mut out);
    assert_eq!(out, b"payload");
}

#[test]
fn a_socket_is_received_into_the_place_of_a_record() {
    let (mut producer, mut consumer, _) = ring(1024);
    let (mut peer, socket) = UnixStream::pair().unwrap();
    let (mut head, mut rest) = ([0; 2], [0; 8]);
    for (sent, committed) in [(&b"hdmoorline+"[..], true), (b"hdmoor", false)] {
        peer.write_all(sent).unwrap();
        let mut place = producer.reserve(8).unwrap();
        let received = place.receive(socket.as_fd(), &mut head, &mut rest).unwrap();
        assert_eq!((received, &head), (sent.len(), b"hd"));
        let mut start = [0; 4];
        place.read(0, &mut start);
        assert_eq!(&start, b"moor");
        if committed {
            place.commit(&header(7), 8);
        }
    }
    assert_eq!(rest[0], b'+');
    let mut place = producer.reserve(8).unwrap();
    let nothing = place.receive(socket.as_fd(), &mut head, &mut rest);
    assert_eq!(nothing.unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(peer);
    assert_eq!(
        place.receive(socket.as_fd(), &mut head, &mut rest).unwrap(),
        0
    );
    assert!(producer.reserve(producer.max_payload() + 1).is_none());
    // What was not committed is no record.
    let _ = producer.publish();
    assert_eq!(take(&mut consumer), Some((header(7), b"moorline".to_vec())));
    assert_eq!(take(&mut consumer), None);
}
