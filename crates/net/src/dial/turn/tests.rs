//! Turns, with counters in place of sockets.

use super::*;

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Wake};

use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinSet, yield_now};

use crate::event_loop::{EventLoop, LoopOptions};

/// The most dials of a burst that go on before the runtime has looked at everything else.
const MOST: usize = AT_ONCE as usize + IN_ONE_GO;

/// Spawns `count` that each want a turn and then count themselves.
fn burst(count: usize, went: &Arc<AtomicUsize>) -> JoinSet<()> {
    let mut all = JoinSet::new();
    let now = Instant::now();
    for _ in 0..count {
        let went = Arc::clone(went);
        all.spawn(async move {
            turn(now).await;
            went.fetch_add(1, Relaxed);
        });
    }
    all
}

/// The most that went between two looks of another task, until all have.
async fn most_at_once(all: usize, went: &AtomicUsize) -> usize {
    let (mut most, mut before) = (0, 0);
    while before < all {
        yield_now().await;
        let now = went.load(Relaxed);
        most = most.max(now - before);
        before = now;
    }
    most
}

fn runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

#[tokio::test]
async fn of_a_burst_only_a_few_go_on_before_other_work() {
    let went = Arc::new(AtomicUsize::new(0));
    let all = burst(1000, &went);
    let most = most_at_once(1000, &went).await;
    all.join_all().await;
    assert!(most <= MOST, "{most} at once");
}

/// A loop polls what is posted once before it is a task, with a waker that wakes nobody.
#[tokio::test]
async fn an_event_loop_breathes_too() {
    let event_loop = EventLoop::start(LoopOptions::default()).unwrap();
    let went = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&went);
    let here = event_loop.clone();
    let most = event_loop.spawn(move || async move {
        let now = Instant::now();
        for _ in 0..1000 {
            let went = Arc::clone(&counted);
            here.run_here_or_spawn(move || async move {
                turn(now).await;
                went.fetch_add(1, Relaxed);
            });
        }
        most_at_once(1000, &counted).await
    });
    let most = most.await.unwrap();
    assert!(most <= MOST, "{most} at once");
    assert_eq!(went.load(Relaxed), 1000);
}

#[tokio::test]
async fn an_early_poll_waits_and_the_last_poll_is_woken() {
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    let (first, last) = (
        Arc::new(Count(AtomicUsize::new(0))),
        Arc::new(Count(AtomicUsize::new(0))),
    );
    let now = Instant::now();
    for _ in 0..AT_ONCE {
        turn(now).await;
    }
    let mut waiting = pin!(turn(now));
    for count in [&first, &last, &last] {
        let waker = Waker::from(Arc::clone(count));
        let polled = waiting.as_mut().poll(&mut Context::from_waker(&waker));
        assert_eq!(polled, Poll::Pending);
    }
    while last.0.load(Relaxed) == 0 {
        yield_now().await;
    }
    assert_eq!(first.0.load(Relaxed), 0);
    let polled = waiting.poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(polled, Poll::Ready(()));
}

#[tokio::test]
async fn a_waiter_that_is_dropped_holds_nobody_up() {
    let went = Arc::new(AtomicUsize::new(0));
    let mut gone = burst(500, &went);
    let all = burst(500, &went);
    yield_now().await;
    gone.abort_all();
    while gone.join_next().await.is_some() {}
    all.join_all().await;
}

#[test]
fn a_waiter_that_is_dropped_is_forgotten_and_the_others_keep_their_places() {
    let waiting = Arc::new(WaitingCallers::default());
    let enter = || WaitingCallers::enter(Arc::clone(&waiting), Waker::noop().clone()).0;
    let stays = enter();
    for _ in 0..1000 {
        drop(enter());
    }
    assert_eq!(waiting.lock().places.len(), 1);
    let goes = enter();
    let last = enter();
    drop(goes);
    let poll = |place: &TurnPlace| place.poll(Waker::noop());
    assert_eq!([poll(&stays), poll(&last)], [Poll::Pending; 2]);
    assert!(waiting.wake(1));
    assert_eq!(
        [poll(&stays), poll(&last)],
        [Poll::Ready(()), Poll::Pending]
    );
    // A waiter that was dropped does not count.
    assert!(waiting.wake(1));
    assert_eq!(poll(&last), Poll::Ready(()));
    assert!(!waiting.wake(1));
    drop((stays, last));
    assert_eq!(waiting.lock().next, 3);
}

#[test]
fn a_runtime_that_ends_leaves_the_thread_usable() {
    let went = Arc::new(AtomicUsize::new(0));
    let first = runtime();
    let all = first.block_on(async { burst(1000, &went) });
    first.block_on(yield_now());
    drop(all);
    drop(first);
    went.store(0, Relaxed);
    runtime().block_on(async { burst(1000, &went).join_all().await });
    assert_eq!(went.load(Relaxed), 1000);
}

#[test]
fn a_runtime_that_is_driven_no_more_holds_nobody_up_on_another() {
    let went = Arc::new(AtomicUsize::new(0));
    let idle = runtime();
    let left = idle.block_on(async {
        let all = burst(1000, &went);
        yield_now().await;
        all
    });
    let before = went.load(Relaxed);
    assert!(before < 1000, "some of the first runtime's still wait");
    // On this thread, too.
    runtime().block_on(async { burst(100, &went).join_all().await });
    assert_eq!(went.load(Relaxed), before + 100);
    idle.block_on(left.join_all());
    assert_eq!(went.load(Relaxed), 1100);
}
