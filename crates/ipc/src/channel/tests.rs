//! Channels between threads, as between processes.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{FdFlags, fcntl_getfd};

use super::*;

/// Waits for a packet, or the end.
fn wait(channel: &Channel) {
    poll(&mut [PollFd::new(channel, PollFlags::IN)], None).unwrap();
}

fn pipe() -> (File, File) {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    (reader.into(), writer.into())
}

#[test]
fn packets_and_descriptors_reach_another_thread() {
    let (one, other) = Channel::pair().unwrap();
    let (mut reader, writer) = pipe();
    let there = thread::spawn(move || {
        wait(&other);
        let Packet { bytes, fds } = other.recv().unwrap().unwrap();
        let fds = fds.unwrap();
        assert_eq!(bytes, b"a pipe for you");
        for fd in &fds {
            assert_eq!(fcntl_getfd(fd).unwrap(), FdFlags::CLOEXEC);
        }
        let mut fds = fds.into_iter().map(File::from);
        fds.next().unwrap().write_all(b"hello ").unwrap();
        fds.next().unwrap().write_all(b"back").unwrap();
        assert!(fds.next().is_none());
    });
    one.send(b"a pipe for you", &[writer.as_fd(), writer.as_fd()])
        .unwrap();
    drop(writer);
    there.join().unwrap();
    let mut read = String::new();
    reader.read_to_string(&mut read).unwrap();
    assert_eq!(read, "hello back");
    assert!(one.recv().unwrap().is_none());
}

#[test]
fn packets_keep_their_bounds_up_to_the_longest() {
    let (one, other) = Channel::pair().unwrap();
    let longest: Vec<u8> = (0..MAX_PACKET).map(|i| i as u8).collect();
    assert_eq!(other.recv().unwrap_err().kind(), ErrorKind::WouldBlock);
    one.send(b"short", &[]).unwrap();
    one.send(&longest, &[]).unwrap();
    assert_eq!(other.recv().unwrap().unwrap().bytes, b"short");
    assert!(other.recv().unwrap().unwrap().bytes == longest);
    assert_eq!(other.recv().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn as_many_descriptors_as_allowed_travel_at_once() {
    let (one, other) = Channel::pair().unwrap();
    let null = File::open("/dev/null").unwrap();
    one.send(b"many", &[null.as_fd(); MAX_FDS]).unwrap();
    let fds = other.recv().unwrap().unwrap().fds.unwrap();
    assert_eq!(fds.len(), MAX_FDS);
    assert_ne!(fds[0].as_raw_fd(), fds[1].as_raw_fd());
}

#[test]
fn malformed_packets_are_refused() {
    let (one, _other) = Channel::pair().unwrap();
    let null = File::open("/dev/null").unwrap();
    for (bytes, fds) in [(0, 0), (MAX_PACKET + 1, 0), (1, MAX_FDS + 1)] {
        let refused = one
            .send(&vec![0; bytes], &vec![null.as_fd(); fds])
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn a_packet_that_is_too_long_is_an_error_and_its_descriptors_are_closed() {
    let (one, other) = Channel::pair().unwrap();
    let (mut reader, writer) = pipe();
    raw_send(&one, &vec![1; MAX_PACKET + 1], &[writer.as_fd()]);
    drop(writer);
    one.send(b"next", &[]).unwrap();
    assert_eq!(other.recv().unwrap_err().kind(), ErrorKind::InvalidData);
    assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(other.recv().unwrap().unwrap().bytes, b"next");
}

#[test]
fn descriptors_that_do_not_all_arrive_are_closed_and_the_packet_says_so() {
    let (one, other) = Channel::pair().unwrap();
    let (mut reader, writer) = pipe();
    raw_send(&one, b"too many", &[writer.as_fd(); MAX_FDS + 3]);
    drop(writer);
    let Packet { bytes, fds } = other.recv().unwrap().unwrap();
    assert_eq!((&bytes[..], fds.unwrap_err()), (&b"too many"[..], CutOff));
    assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn a_full_channel_would_block() {
    let (one, _other) = Channel::pair().unwrap();
    let full = loop {
        if let Err(error) = one.send(&[0; 4096], &[]) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
}

#[test]
fn last_words_arrive_although_the_other_end_left_packets_unread() {
    for asks_first in [false, true] {
        let (one, other) = Channel::pair().unwrap();
        one.send(b"unread", &[]).unwrap();
        other.send(b"last words", &[]).unwrap();
        drop(other);
        if asks_first {
            assert_eq!(
                one.send(b"are you there", &[]).unwrap_err().kind(),
                ErrorKind::BrokenPipe
            );
        }
        assert_eq!(one.recv().unwrap().unwrap().bytes, b"last words");
        assert!(one.recv().unwrap().is_none());
    }
}

#[test]
fn an_end_can_be_handed_on_as_a_descriptor() {
    let (one, other) = Channel::pair().unwrap();
    let one = Channel::from_fd(OwnedFd::from(one));
    one.send(b"still here", &[]).unwrap();
    assert_eq!(other.recv().unwrap().unwrap().bytes, b"still here");
}

/// Sends what [`Channel::send`] refuses to.
fn raw_send(channel: &Channel, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FDS + 3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    let sent = sendmsg(
        channel,
        &[IoSlice::new(bytes)],
        &mut control,
        SendFlags::empty(),
    )
    .unwrap();
    assert_eq!(sent, bytes.len());
}
