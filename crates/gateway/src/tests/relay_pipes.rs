//! Relays whose readers stall give their pipes back.

use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::net::SendFlags;

use super::relays::Bench;
use crate::memory::Class;

/// As many as there are pipes.
const PIPES: usize = 64;
const SOCKET_BYTES: usize = 512 * 1024;

/// A relay whose peer has sent much.
struct Bulk {
    client: UnixStream,
    peer: OwnedFd,
    sent: usize,
}

impl Bulk {
    fn new(bench: &mut Bench) -> Self {
        let client = bench.connect_plain();
        bench.settle();
        let peer = bench.take_connection();
        rustix::net::sockopt::set_socket_send_buffer_size(&peer, SOCKET_BYTES)
            .expect("a larger buffer");
        Self {
            client,
            peer,
            sent: 0,
        }
    }

    /// The peer sends until nobody takes more.
    fn fill(&mut self, bench: &mut Bench) {
        let chunk: Vec<u8> = (0..32 * 1024).map(|at| (at % 251) as u8).collect();
        let mut refused = 0;
        while refused < 5 {
            let from = self.sent % chunk.len();
            match rustix::net::send(&self.peer, &chunk[from..], SendFlags::DONTWAIT) {
                Ok(bytes) => {
                    self.sent += bytes;
                    refused = 0;
                }
                Err(Errno::AGAIN) => refused += 1,
                Err(error) => panic!("{error}"),
            }
            bench.script.turn();
        }
    }

    /// The client reads all that was sent.
    #[track_caller]
    fn drain(&mut self, bench: &mut Bench) {
        let mut buffer = vec![0; 64 * 1024];
        let (mut came, mut empty) = (0, 0);
        while came < self.sent {
            match self.client.read(&mut buffer) {
                Ok(bytes) => {
                    for (at, byte) in buffer[..bytes].iter().enumerate() {
                        assert_eq!(*byte, ((came + at) % (32 * 1024) % 251) as u8);
                    }
                    came += bytes;
                    empty = 0;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    empty += 1;
                    assert!(empty < 100, "{came} of {} bytes have come", self.sent);
                }
            }
            bench.script.turn();
        }
    }
}

fn queued(bench: &Bench) -> u64 {
    bench.script.gateway.tools.memory.of(Class::Queued)
}

#[test]
fn readers_that_stall_do_not_keep_all_pipes_from_others() {
    let mut bench = Bench::new("");
    let mut stalled: Vec<_> = (0..PIPES).map(|_| Bulk::new(&mut bench)).collect();
    for bulk in &mut stalled {
        bulk.fill(&mut bench);
    }
    assert_eq!(queued(&bench), 0, "what is in a pipe is the kernel's");
    bench.script.pass(600);
    assert_eq!(queued(&bench), 0, "nobody else wants one");
    let mut other = Bulk::new(&mut bench);
    other.fill(&mut bench);
    bench.script.pass(200);
    let of_stalled = queued(&bench);
    assert!(of_stalled > 80 * 1024, "{of_stalled}");
    other.drain(&mut bench);
    for bulk in &mut stalled {
        bulk.drain(&mut bench);
    }
    assert_eq!(queued(&bench), 0);
}
