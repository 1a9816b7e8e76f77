//! The stack of a thread at this moment: the addresses on it. The thread itself takes them when a signal asks it to, or when
//! a future that it polls keeps the waker.
//!
//! Addresses only. To take them needs no memory and no lock (the unwinder finds its tables without one since
//! glibc 2.35 and GCC 12), so it is safe wherever a signal may land. Their names can be looked up later.

use std::ffi::{c_int, c_void};
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::task::{Context, RawWaker, RawWakerVTable, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// Frames kept of a stack, the innermost ones. Handlers seldom are deeper, and recursion without end shows.
const FRAMES: usize = 128;
/// Stacks kept of one poll: a future may wait for several things at once.
const STACKS: usize = 8;
/// How often the sampler looks whether the signal has been answered.
const LOOK: Duration = Duration::from_millis(1);
/// Ignored unless asked for, and nobody asks for it: it tells of urgent data, which no socket here has.
const SIGNAL: c_int = libc::SIGURG;

/// The stack that was asked for: how many addresses, or one of the two marks, and the addresses.
static LENGTH: AtomicUsize = AtomicUsize::new(NOT_WANTED);
static ADDRESSES: [AtomicUsize; FRAMES] = [const { AtomicUsize::new(0) }; FRAMES];
const NOT_WANTED: usize = usize::MAX;
const WANTED: usize = usize::MAX - 1;
/// Being written: a second signal that comes late does nothing.
const TAKING: usize = usize::MAX - 2;

/// Takes the stack of one thread from another thread of the same process.
#[derive(Debug)]
pub struct StackSampler {
    thread: libc::pid_t,
}

impl StackSampler {
    /// To be called on the thread whose stack will be taken.
    ///
    /// # Errors
    /// The signal cannot be handled.
    pub fn for_this_thread() -> io::Result<Self> {
        static HANDLED: Once = Once::new();
        let mut result = Ok(());
        HANDLED.call_once(|| {
            // What the unwinder sets up at its first use is set up here and not in the handler.
            capture(&mut [0; 4]);
            result = handle_signal();
        });
        result?;
        // SAFETY: has no arguments and cannot fail.
        let thread = unsafe { libc::gettid() };
        Ok(Self { thread })
    }

    /// The thread's id, as `/proc/self/task` names it.
    pub fn thread(&self) -> i32 {
        self.thread
    }

    /// The addresses on the thread's stack, the innermost first; `None` if it does not answer in time, since it
    /// has ended or cannot be interrupted. A system call that it is in is restarted, or, where the kernel
    /// restarts none of that kind, ends with `EINTR`.
    pub fn sample(&self, patience: Duration) -> Option<Vec<usize>> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        LENGTH.store(WANTED, Ordering::Release);
        // SAFETY: takes numbers only. A thread id that is in use again names a thread of this very process, for
        // which the signal is as harmless.
        let sent =
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), self.thread, SIGNAL) } == 0;
        let deadline = Instant::now() + patience;
        while sent && Instant::now() < deadline {
            if let Some(stack) = taken() {
                return Some(stack);
            }
            thread::sleep(LOOK);
        }
        // One that is being taken just now is left to end; what it leaves is overwritten by the next.
        let _ = LENGTH.compare_exchange(WANTED, NOT_WANTED, Ordering::Relaxed, Ordering::Relaxed);
        None
    }
}

/// The stack that was asked for, once it is there.
fn taken() -> Option<Vec<usize>> {
    let length = LENGTH.load(Ordering::Acquire);
    let addresses = ADDRESSES.get(..length)?;
    LENGTH.store(NOT_WANTED, Ordering::Relaxed);
    let load = |address: &AtomicUsize| address.load(Ordering::Relaxed);
    Some(addresses.iter().map(load).collect())
}

fn handle_signal() -> io::Result<()> {
    // SAFETY: all-zero is a valid sigaction: no flags, no mask, the default action.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_signal as extern "C" fn(c_int) as usize;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the handler is a function of the kind that these flags say, and safe wherever the signal lands: it
    // takes no lock and no memory, touches atomics only and keeps errno.
    if unsafe { libc::sigaction(SIGNAL, &action, ptr::null_mut()) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

extern "C" fn on_signal(_: c_int) {
    if LENGTH
        .compare_exchange(WANTED, TAKING, Ordering::Acquire, Ordering::Relaxed)
        .is_err()
    {
        return;
    }
    // SAFETY: the address of this thread's errno, which lives as long as the thread.
    let errno = unsafe { *libc::__errno_location() };
    let mut addresses = [0; FRAMES];
    let length = capture(&mut addresses);
    for (kept, address) in ADDRESSES.iter().zip(&addresses[..length]) {
        kept.store(*address, Ordering::Relaxed);
    }
    LENGTH.store(length, Ordering::Release);
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// Polls something with a waker that notes the stack of the code that keeps it: the places where it waits. What is
/// kept is the real waker.
pub fn poll_traced<T>(
    waker: &Waker,
    poll: impl FnOnce(&mut Context<'_>) -> T,
) -> (T, Vec<Vec<usize>>) {
    let tracer = Tracer {
        waker,
        stacks: Mutex::new(Vec::new()),
    };
    let raw = RawWaker::new(ptr::from_ref(&tracer).cast(), &TRACER);
    // SAFETY: the table's functions take what the pointer is, a `Tracer`, which is `Sync` and outlives this waker:
    // it is lent to `poll` only, and clones of it are clones of the real one.
    let tracing = unsafe { Waker::from_raw(raw) };
    let polled = poll(&mut Context::from_waker(&tracing));
    drop(tracing);
    let stacks = tracer.stacks.into_inner();
    (polled, stacks.unwrap_or_else(PoisonError::into_inner))
}

struct Tracer<'a> {
    waker: &'a Waker,
    stacks: Mutex<Vec<Vec<usize>>>,
}

static TRACER: RawWakerVTable = RawWakerVTable::new(
    |tracer| {
        // SAFETY: `poll_traced` makes the only waker with this table, and its `Tracer` is still there.
        let tracer = unsafe { &*tracer.cast::<Tracer<'_>>() };
        tracer.note();
        let kept = std::mem::ManuallyDrop::new(tracer.waker.clone());
        // The parts of the real waker: their receiver owns that clone.
        RawWaker::new(kept.data(), kept.vtable())
    },
    // Nobody owns the waker but `poll_traced`, which only drops it.
    |_| {},
    |tracer| {
        // SAFETY: as for a clone.
        unsafe { &*tracer.cast::<Tracer<'_>>() }.waker.wake_by_ref();
    },
    |_| {},
);

impl Tracer<'_> {
    fn note(&self) {
        let mut stacks = self.stacks.lock().unwrap_or_else(PoisonError::into_inner);
        if stacks.len() < STACKS {
            let mut addresses = [0; FRAMES];
            let length = capture(&mut addresses);
            stacks.push(addresses[..length].to_vec());
        }
    }
}

/// The addresses on this thread's stack, the innermost first.
pub fn capture_stack() -> Vec<usize> {
    let mut addresses = vec![0; FRAMES];
    let length = capture(&mut addresses);
    addresses.truncate(length);
    addresses
}

/// Fills in the addresses on this thread's stack, the innermost first, and says how many. In a signal handler it
/// begins with the frame that was interrupted.
fn capture(addresses: &mut [usize]) -> usize {
    struct Taken<'a> {
        addresses: &'a mut [usize],
        length: usize,
    }

    extern "C" fn frame(context: *mut c_void, taken: *mut c_void) -> c_int {
        // SAFETY: what `capture` handed over, which waits for this to end.
        let taken = unsafe { &mut *taken.cast::<Taken<'_>>() };
        let mut is_interrupted = 0;
        // SAFETY: the context is the unwinder's own, for the time of this call.
        let address = unsafe { _Unwind_GetIPInfo(context, &mut is_interrupted) };
        if is_interrupted != 0 {
            taken.length = 0;
        }
        let Some(place) = taken.addresses.get_mut(taken.length) else {
            return END_OF_STACK;
        };
        if address == 0 {
            return END_OF_STACK;
        }
        // A return address is that of the instruction after the call, which may belong to another line.
        *place = address - usize::from(is_interrupted == 0);
        taken.length += 1;
        NO_REASON
    }

    let mut taken = Taken {
        addresses,
        length: 0,
    };
    // SAFETY: the callback has the form that the unwinder's interface asks for and does not unwind.
    unsafe { _Unwind_Backtrace(frame, ptr::from_mut(&mut taken).cast()) };
    taken.length
}

/// `_URC_NO_REASON` and `_URC_END_OF_STACK` of the unwinder's interface.
const NO_REASON: c_int = 0;
const END_OF_STACK: c_int = 5;

// Part of the unwinder that every Rust program is linked with.
unsafe extern "C" {
    fn _Unwind_Backtrace(
        frame: extern "C" fn(*mut c_void, *mut c_void) -> c_int,
        argument: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIPInfo(context: *mut c_void, is_interrupted: *mut c_int) -> usize;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::task::Wake;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn names(stack: &[usize]) -> String {
        let mut names = Vec::new();
        for address in stack {
            names.push(format!("{address:x}"));
        }
        names.join(" ")
    }

    /// Whether the stack has an address within some bytes of where this function begins.
    fn is_in(stack: &[usize], function: usize) -> bool {
        stack
            .iter()
            .any(|address| (function..function + 4096).contains(address))
    }

    #[inline(never)]
    fn spins(until: &std::sync::atomic::AtomicBool) {
        while !until.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn the_stack_of_a_thread_that_spins_and_of_one_that_sleeps_is_taken() {
        let is_over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (sender, samplers) = channel();
        let flag = is_over.clone();
        let spinning = thread::spawn(move || {
            sender
                .send(StackSampler::for_this_thread().unwrap())
                .unwrap();
            spins(&flag);
            let (send, receive) = channel::<()>();
            sender
                .send(StackSampler::for_this_thread().unwrap())
                .unwrap();
            let _ = receive.recv_timeout(Duration::from_millis(500));
            drop(send);
        });
        let sampler = samplers.recv().unwrap();
        let function = spins as fn(&std::sync::atomic::AtomicBool) as usize;
        // It may not have got there yet.
        let deadline = Instant::now() + PATIENCE;
        loop {
            let stack = sampler.sample(PATIENCE).unwrap();
            if is_in(&stack, function) {
                break;
            }
            assert!(Instant::now() < deadline, "{}", names(&stack));
        }
        is_over.store(true, Ordering::Relaxed);
        let sampler = samplers.recv().unwrap();
        let begun = Instant::now();
        assert!(sampler.sample(PATIENCE).unwrap().len() > 2);
        assert!(begun.elapsed() < Duration::from_millis(400));
        spinning.join().unwrap();
        assert_eq!(sampler.sample(Duration::from_millis(50)), None);
    }

    #[test]
    fn the_stack_that_keeps_the_waker_is_noted_and_gets_the_real_one() {
        struct Real;
        impl Wake for Real {
            fn wake(self: std::sync::Arc<Self>) {}
        }
        let real = std::sync::Arc::new(Real);
        let waker = Waker::from(real.clone());
        let (kept, stacks) = poll_traced(&waker, |cx| cx.waker().clone());
        assert_eq!(stacks.len(), 1);
        assert!(stacks[0].len() > 2);
        assert!(kept.will_wake(&waker));
        drop(waker);
        kept.wake_by_ref();
        drop(kept);
        assert_eq!(std::sync::Arc::strong_count(&real), 1);
        let ((), none) = poll_traced(Waker::noop(), |cx| cx.waker().wake_by_ref());
        assert_eq!(none.len(), 0);
    }
}
