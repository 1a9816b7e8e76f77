//! What services ask of one socket at the same time, and what a loop does for one.

use std::borrow::Cow;
use std::cell::Cell;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::thread;
use std::time::Duration;

use moorline_actor::ServiceId;

use super::event::{SocketEvent, SocketMode};
use super::foreign_io::ForeignIo;
use super::owned_socket::{OwnedSocket, SCRATCH_BYTES};
use super::receive_buffer::ReadNeed;
use super::send_queue::SendPriority;
use super::shared_socket::{ClaimTurn, SharedSocket, SocketClaim, SocketKind, SocketStanding};
use super::step::{ReadOutcome, ReadStart, SocketStep};
use crate::foreign::{ForeignListening, ForeignStreams};
use crate::sys::StateMemory;

/// Counts how often it is woken.
#[derive(Default)]
struct Counted(AtomicUsize);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A service, and what wakes it.
struct Claimant(ServiceId, Arc<Counted>);

impl Claimant {
    fn new(number: u32) -> Self {
        Self(ServiceId::from_number(number), Arc::default())
    }

    fn claim(&self, socket: &SharedSocket, turn: ClaimTurn) -> &'static str {
        match socket.claim(self.0, &Waker::from(self.1.clone()), turn) {
            SocketClaim::Taken { .. } => "taken",
            SocketClaim::Later => "later",
            SocketClaim::Replaced => "replaced",
            SocketClaim::Gone => "gone",
        }
    }

    fn first(&self, socket: &SharedSocket) -> &'static str {
        self.claim(socket, ClaimTurn::First)
    }

    fn again(&self, socket: &SharedSocket) -> &'static str {
        self.claim(socket, ClaimTurn::Again)
    }

    fn is_woken(&self) -> bool {
        self.1.0.swap(0, Ordering::SeqCst) > 0
    }
}

/// A socket whose owner reads it, and its peer.
fn owned(owner: &Claimant) -> (Arc<SharedSocket>, UnixStream) {
    let (own, peer) = UnixStream::pair().expect("there are sockets");
    own.set_nonblocking(true).expect("it is set");
    let descriptor = Some(Arc::new(OwnedFd::from(own)));
    let waker = Some(Waker::from(owner.1.clone()));
    let shared = SharedSocket::new(7, SocketKind::Stream, descriptor, owner.0, waker);
    (Arc::new(shared), peer)
}

#[test]
fn of_two_services_that_ask_the_first_learns_that_it_does_not_get_the_socket() {
    let (owner, one, two) = (Claimant::new(1), Claimant::new(2), Claimant::new(3));
    let (socket, _peer) = owned(&owner);
    assert_eq!(one.first(&socket), "later");
    assert!(owner.is_woken());
    assert_eq!(two.first(&socket), "later");
    assert!(one.is_woken());
    assert_eq!(one.again(&socket), "replaced");
    socket.silence(b"rest".to_vec(), false);
    assert!(two.is_woken());
    assert_eq!(two.again(&socket), "taken");
    assert_eq!(socket.standing(two.0), SocketStanding::Own);
    assert_eq!(socket.standing(one.0), SocketStanding::Foreign);
    // One that asks while it is free gets it before one that was woken.
    assert_eq!(one.first(&socket), "later");
    socket.silence(Vec::new(), false);
    assert_eq!(owner.first(&socket), "taken");
    assert!(one.is_woken());
    assert_eq!(one.again(&socket), "replaced");
}

#[test]
fn a_service_that_waits_is_woken_when_the_socket_ends() {
    let (owner, one) = (Claimant::new(1), Claimant::new(2));
    let (socket, mut peer) = owned(&owner);
    assert_eq!(one.first(&socket), "later");
    socket.end();
    assert!(one.is_woken());
    assert_eq!(one.again(&socket), "gone");
    assert_eq!(peer.read(&mut [0]).expect("it ends"), 0);
    assert_eq!(owner.first(&socket), "gone");
}

#[test]
fn a_socket_whose_owner_and_next_owner_have_ended_is_closed() {
    let (owner, one, two) = (Claimant::new(1), Claimant::new(2), Claimant::new(3));
    // The owner ends first, while it reads, and after it has let go.
    for is_silent in [false, true] {
        let (socket, mut peer) = owned(&owner);
        assert_eq!(one.first(&socket), "later");
        if is_silent {
            socket.silence(b"rest".to_vec(), false);
            assert!(!socket.end_if_silent(owner.0));
        } else {
            assert!(socket.pass_on(|| b"rest".to_vec(), false));
        }
        assert!(one.is_woken());
        assert!(!socket.withdraw_claim(two.0));
        assert!(socket.withdraw_claim(one.0));
        assert_eq!(peer.read(&mut [0]).expect("it ends"), 0);
        assert_eq!(two.first(&socket), "gone");
    }
    // The one that waits ends first: the owner has it as before.
    let (socket, _peer) = owned(&owner);
    assert_eq!(one.first(&socket), "later");
    assert!(!socket.withdraw_claim(one.0));
    assert!(!socket.pass_on(Vec::new, false));
    assert_eq!(socket.standing(owner.0), SocketStanding::Own);
    // What another service has taken meanwhile is not closed with its first owner.
    socket.silence(Vec::new(), false);
    assert_eq!(two.first(&socket), "taken");
    socket.silence(Vec::new(), false);
    assert!(!socket.end_if_silent(owner.0));
    assert!(socket.end_if_silent(two.0));
}

/// Runs a test of a socket on a loop.
fn on_a_loop(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("there are descriptors");
    runtime.block_on(test);
}

fn watched(shared: &Arc<SharedSocket>, waker: Waker) -> OwnedSocket {
    let mut socket = OwnedSocket::new(shared.clone(), Rc::default(), waker, SocketMode::Buffered);
    let descriptor = shared.descriptor().expect("it is open");
    socket.register(descriptor).expect("it can be watched");
    socket
}

#[test]
fn a_fast_sender_has_its_turns_and_ends_at_the_most_unread_bytes() {
    on_a_loop(async {
        let owner = Claimant::new(1);
        let (shared, mut peer) = owned(&owner);
        let mut socket = watched(&shared, Waker::from(owner.1.clone()));
        let sending = thread::spawn(move || while peer.write_all(&[b'x'; 1 << 16]).is_ok() {});
        assert!(socket.read(ReadNeed::Bytes(1 << 30), 9).is_ok());
        let mut scratch = vec![0; SCRATCH_BYTES];
        let mut before = 0;
        let failed = loop {
            let step = socket.poll(&mut scratch);
            let received = shared.received.load(Ordering::Relaxed) as usize;
            assert!(received - before <= 16 * SCRATCH_BYTES, "in one turn");
            before = received;
            match step {
                Some(step) => break step,
                None => tokio::time::sleep(Duration::from_micros(100)).await,
            }
        };
        let SocketStep::Event(SocketEvent::Failed(why)) = failed else {
            panic!("{failed:?}");
        };
        assert!(why.ends_with("bytes were received and not read"), "{why}");
        let over = socket.poll(&mut scratch);
        let Some(SocketStep::Answer(9, ReadOutcome::Over(rest))) = over else {
            panic!("the reader is told");
        };
        assert!((8 << 20..9 << 20).contains(&rest.len()), "{}", rest.len());
        sending.join().expect("its peer is gone");
    });
}

#[test]
fn a_socket_that_is_closed_during_a_flush_tells_so_before_it_is_gone() {
    on_a_loop(async {
        let owner = Claimant::new(1);
        let (shared, mut peer) = owned(&owner);
        let mut socket = watched(&shared, Waker::from(owner.1.clone()));
        let bytes = vec![b'x'; 4 << 20];
        assert!(shared.write(Cow::Borrowed(&bytes), None, SendPriority::High));
        let mut scratch = vec![0; SCRATCH_BYTES];
        assert!(
            socket
                .poll(&mut scratch)
                .is_some_and(|step| matches!(step, SocketStep::Event(SocketEvent::Warning(_))))
        );
        assert!(socket.poll(&mut scratch).is_none());
        // On another loop, behind the look at what was asked.
        socket.is_closed = true;
        shared.close();
        assert!(shared.is_asked());
        let reading = thread::spawn(move || {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).map(|_| all.len())
        });
        let mut steps = Vec::new();
        while steps.last() != Some(&"gone") {
            match socket.poll(&mut scratch) {
                Some(SocketStep::Event(SocketEvent::Closed)) => steps.push("closed"),
                Some(SocketStep::Event(SocketEvent::Warning(0))) => steps.push("sent"),
                Some(SocketStep::Gone) => steps.push("gone"),
                Some(step) => panic!("{step:?}"),
                None => tokio::time::sleep(Duration::from_micros(100)).await,
            }
        }
        assert_eq!(steps, ["sent", "closed", "gone"]);
        let read = reading.join().expect("it reads").expect("it ends");
        assert_eq!(read, bytes.len());
    });
}

thread_local! {
    /// The calls of `progress`, and whether the program has the connection.
    static PROGRAM: Cell<(usize, bool)> = const { Cell::new((0, true)) };
}

fn told() -> usize {
    PROGRAM.get().0
}

/// A connection of the program, and the memory of the service that owns it.
fn foreign(mode: SocketMode) -> (Arc<SharedSocket>, OwnedSocket, Rc<StateMemory>) {
    let functions = ForeignStreams {
        listen: |_, _| ForeignListening::Program,
        unlisten: |_| (),
        send: |_, _| true,
        close: |_, _| (),
        progress: |_| PROGRAM.set((told() + 1, PROGRAM.get().1)),
        is_here: |_| PROGRAM.get().1,
    };
    let owner = Claimant::new(1);
    let waker = Waker::from(owner.1.clone());
    let io = ForeignIo::new(functions, "peer".to_owned());
    let shared = SharedSocket::foreign(9, SocketKind::Stream, io, owner.0, Some(waker.clone()));
    let shared = Arc::new(shared);
    let memory = Rc::<StateMemory>::default();
    let owned = OwnedSocket::new(shared.clone(), memory.clone(), waker, mode);
    (shared, owned, memory)
}

fn feed(socket: &SharedSocket, bytes: &[u8]) {
    socket.foreign.as_ref().expect("it has one").feed(bytes);
}

#[test]
fn a_paused_handler_gets_what_came_before_the_end_and_then_the_end() {
    let (shared, mut socket, memory) = foreign(SocketMode::Raw);
    socket.pause();
    feed(&shared, b"last words");
    shared.foreign.as_ref().expect("it has one").finish();
    assert!(socket.poll(&mut []).is_none());
    assert_eq!(memory.received(), 10);
    socket.resume();
    let before = told();
    let data = socket.poll(&mut []);
    assert!(
        matches!(&data, Some(SocketStep::Event(SocketEvent::Data(data))) if data == b"last words")
    );
    assert!(told() > before);
    assert_eq!(memory.received(), 0);
    let end = socket.poll(&mut []);
    assert!(matches!(end, Some(SocketStep::Event(SocketEvent::Closed))));
}

#[test]
fn nobody_reads_here_what_another_process_has() {
    let line = || ReadNeed::Line(b"\n"[..].into());
    let (shared, mut socket, memory) = foreign(SocketMode::Buffered);
    feed(&shared, b"one\ntwo\nthree");
    let first = socket.read(line(), 1);
    assert!(matches!(first, Ok(ReadStart::Done(ReadOutcome::Data(_)))));
    assert_eq!(socket.take_now().0.as_deref(), Some(&b"two\nthree"[..]));
    feed(&shared, b"four\n");
    PROGRAM.set((0, false));
    assert_eq!(socket.take_now().0, None);
    feed(&shared, b"five\n");
    assert!(matches!(socket.read(line(), 1), Ok(ReadStart::Waits)));
    let over = socket.poll(&mut []);
    assert!(
        matches!(&over, Some(SocketStep::Answer(1, ReadOutcome::Over(rest))) if rest.is_empty())
    );
    assert_eq!(memory.received(), 0);
}

#[test]
fn what_a_service_has_not_read_of_the_programs_connections_is_counted_together() {
    let (shared, mut one, memory) = foreign(SocketMode::Buffered);
    let waker = one.waker.clone();
    let mut two = OwnedSocket::new(shared.clone(), memory.clone(), waker, SocketMode::Raw);
    two.pause();
    feed(&shared, &[7; 1000]);
    assert!(one.poll(&mut []).is_none() && two.poll(&mut []).is_none());
    assert_eq!(memory.received(), 2000);
    drop(one);
    assert_eq!(memory.received(), 1000);
    two.resume();
    assert!(two.poll(&mut []).is_some());
    assert_eq!(memory.received(), 0);
}
