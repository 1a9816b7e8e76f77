//! Event loops, pools of them, and timers.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use moorline_net::event_loop::MAX_POSTED;
use moorline_net::{
    EventLoop, EventLoopPool, LoopOptions, LoopPoolOptions, Priority, Task, TaskError, Timer,
};
use rustix::process::{getpriority_process, setpriority_process};
use rustix::thread::sched_getaffinity;
use tokio::sync::Notify;

/// How long anything that must happen may take.
const PATIENCE: Duration = Duration::from_secs(20);

fn start() -> EventLoop {
    EventLoop::start(LoopOptions::default()).expect("a thread")
}

/// What the task comes to, waited for without a loop.
fn wait<T: Send + 'static>(task: Task<T>) -> Result<T, TaskError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime")
        .block_on(async { tokio::time::timeout(PATIENCE, task).await })
        .expect("the task ends")
}

/// Holds a loop until the sender is dropped.
fn hold(event_loop: &EventLoop) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel::<()>();
    let (tell, holds) = mpsc::channel();
    event_loop.spawn(move || async move {
        tell.send(()).expect("the test waits");
        let _ = released.recv_timeout(PATIENCE);
    });
    holds.recv_timeout(PATIENCE).expect("the loop runs");
    release
}

/// Says on which thread it was dropped.
struct Tombstone(mpsc::Sender<ThreadId>);

impl Drop for Tombstone {
    fn drop(&mut self) {
        let _ = self.0.send(thread::current().id());
    }
}

#[test]
fn work_runs_in_the_order_of_posting() {
    let event_loop = start();
    let order = Arc::new(Mutex::new(Vec::new()));
    let note = |word: &'static str| {
        let order = order.clone();
        move || async move { order.lock().expect("nobody panics").push(word) }
    };
    let release = hold(&event_loop);
    event_loop.spawn(note("second"));
    let last = event_loop.spawn(note("third"));
    event_loop.spawn_first(note("first"));
    drop(release);
    wait(last).expect("it runs");
    assert_eq!(
        *order.lock().expect("nobody panics"),
        ["first", "second", "third"]
    );
}

#[test]
fn on_its_own_loop_work_runs_at_once() {
    let event_loop = start();
    let inner = event_loop.clone();
    let seen = event_loop.spawn(move || async move {
        let has_run = Arc::new(AtomicBool::new(false));
        let run = |set: Arc<AtomicBool>| move || async move { set.store(true, Ordering::Relaxed) };
        drop(inner.spawn(run(has_run.clone())));
        let after_spawn = has_run.load(Ordering::Relaxed);
        drop(inner.run_here_or_spawn(run(has_run.clone())));
        (after_spawn, has_run.load(Ordering::Relaxed))
    });
    assert_eq!(wait(seen), Ok((false, true)));
    assert!(!event_loop.is_current());
    let elsewhere = event_loop.run_here_or_spawn(|| async { thread::current().id() });
    assert_ne!(wait(elsewhere), Ok(thread::current().id()));
}

#[test]
fn work_that_waits_goes_on_with_its_event() {
    let event_loop = start();
    let task = event_loop.spawn(|| async {
        // Not `Send`.
        let steps = Rc::new(Cell::new(0));
        let counting = steps.clone();
        let counted = tokio::task::spawn_local(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            counting.set(counting.get() + 1);
        });
        counted.await.expect("it ends");
        steps.get()
    });
    assert_eq!(wait(task), Ok(1));
}

#[test]
fn work_cancelled_before_it_starts_never_runs() {
    let event_loop = start();
    let release = hold(&event_loop);
    let has_run = Arc::new(AtomicBool::new(false));
    let set = has_run.clone();
    let task = event_loop.spawn(move || async move { set.store(true, Ordering::Relaxed) });
    task.cancel();
    drop(release);
    assert_eq!(wait(task), Err(TaskError::Cancelled));
    wait(event_loop.spawn(|| async {})).expect("the loop goes on");
    assert!(!has_run.load(Ordering::Relaxed));
}

#[test]
fn cancelled_work_does_not_run_though_its_event_has_come() {
    let event_loop = start();
    let inner = event_loop.clone();
    let outcome = event_loop.spawn(move || async move {
        let event = Arc::new(Notify::new());
        let has_run = Arc::new(AtomicBool::new(false));
        let (heard, set) = (event.clone(), has_run.clone());
        let waiting = inner.run_here_or_spawn(move || async move {
            heard.notified().await;
            set.store(true, Ordering::Relaxed);
        });
        // It waits as a task from here on.
        tokio::task::yield_now().await;
        event.notify_one();
        waiting.cancel();
        (waiting.await, has_run.load(Ordering::Relaxed))
    });
    let (cancelled, has_run) = wait(outcome).expect("it runs");
    assert_eq!(cancelled, Err(TaskError::Cancelled));
    assert!(!has_run);
}

#[test]
fn work_cancelled_on_another_thread_is_dropped_on_its_loop() {
    let event_loop = start();
    let (tell, told) = mpsc::channel();
    let stone = Tombstone(tell);
    let (has_begun, begun) = mpsc::channel();
    let task = event_loop.spawn(move || async move {
        let _stone = stone;
        has_begun
            .send(thread::current().id())
            .expect("the test waits");
        std::future::pending::<()>().await;
    });
    let home = begun.recv_timeout(PATIENCE).expect("it begins");
    task.cancel();
    assert_eq!(told.recv_timeout(PATIENCE), Ok(home));
    assert_eq!(wait(task), Err(TaskError::Cancelled));
}

#[test]
fn a_panic_is_returned_and_harms_nothing_else() {
    let event_loop = start();
    let other = event_loop.spawn(|| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        "unharmed"
    });
    let at_once = event_loop.spawn(|| async { panic!("at {}", "once") });
    assert_eq!(wait(at_once), Err(TaskError::Panicked("at once".into())));
    let later = event_loop.spawn(|| async {
        tokio::task::yield_now().await;
        panic!("later")
    });
    assert_eq!(wait(later), Err(TaskError::Panicked("later".into())));
    assert_eq!(wait(other), Ok("unharmed"));
}

#[test]
fn a_loop_ends_with_its_last_handle_and_drops_its_work_on_its_thread() {
    let event_loop = start();
    let (tell, told) = mpsc::channel();
    let (started, waiting) = (Tombstone(tell.clone()), Tombstone(tell));
    let (has_begun, begun) = mpsc::channel();
    let lives = event_loop.spawn(move || async move {
        let _stone = started;
        has_begun
            .send(thread::current().id())
            .expect("the test waits");
        std::future::pending::<()>().await;
    });
    let home = begun.recv_timeout(PATIENCE).expect("it begins");
    let release = hold(&event_loop);
    let never_begins = event_loop.spawn(move || async move {
        let _stone = waiting;
    });
    let copy = event_loop.clone();
    drop(event_loop);
    assert!(!lives.is_finished());
    drop(copy);
    drop(release);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(home));
    assert_eq!(told.recv_timeout(PATIENCE), Ok(home));
    assert_eq!(wait(lives), Err(TaskError::Stopped));
    assert_eq!(wait(never_begins), Err(TaskError::Stopped));
}

#[test]
fn a_stopped_loop_refuses_work() {
    let event_loop = start();
    event_loop.stop();
    event_loop.wait(PATIENCE).expect("it ends");
    let late = event_loop.spawn(|| async {});
    assert!(late.is_finished());
    assert_eq!(wait(late), Err(TaskError::Stopped));
}

#[test]
fn a_loop_that_is_far_behind_refuses_more() {
    let event_loop = start();
    let release = hold(&event_loop);
    for _ in 0..MAX_POSTED {
        drop(event_loop.spawn(|| async {}));
    }
    assert_eq!(wait(event_loop.spawn(|| async {})), Err(TaskError::Full));
    assert_eq!(
        wait(event_loop.spawn_first(|| async {})),
        Err(TaskError::Full)
    );
    drop(release);
    let mut accepted = wait(event_loop.spawn(|| async {}));
    while accepted == Err(TaskError::Full) {
        thread::yield_now();
        accepted = wait(event_loop.spawn(|| async {}));
    }
    assert_eq!(accepted, Ok(()));
}

#[test]
fn a_loop_that_is_held_is_reported_once() {
    let event_loop =
        EventLoop::start(LoopOptions::default().stall_after(Some(Duration::from_millis(50))))
            .expect("a thread");
    let inner = event_loop.clone();
    let held = event_loop.spawn(move || async move {
        let deadline = Instant::now() + PATIENCE;
        while inner.stalls() == 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        // As long again: it has been said.
        thread::sleep(Duration::from_millis(200));
        inner.stalls()
    });
    assert_eq!(wait(held), Ok(1));
    wait(event_loop.spawn(|| async {})).expect("it takes turns again");
}

#[test]
fn new_work_goes_to_the_least_loaded_or_stays_where_it_is() {
    let pool = EventLoopPool::start(
        LoopPoolOptions::default()
            .size(Some(3))
            .name("test".to_owned()),
    )
    .expect("threads");
    let names: Vec<_> = pool.loops().iter().map(EventLoop::name).collect();
    assert_eq!(names, ["test 0", "test 1", "test 2"]);
    let name = pool.loops()[1].spawn(|| async { thread::current().name().map(str::to_owned) });
    assert_eq!(wait(name), Ok(Some("test 1".to_owned())));

    // Two of them work until told otherwise.
    let is_over = Arc::new(AtomicBool::new(false));
    for busy in [0, 2] {
        let is_over = is_over.clone();
        pool.loops()[busy].spawn(move || async move {
            while !is_over.load(Ordering::Relaxed) {
                tokio::task::yield_now().await;
            }
        });
    }
    let deadline = Instant::now() + PATIENCE;
    while pool.loops()[0].load() < 0.3 || pool.loops()[2].load() < 0.3 {
        assert!(
            Instant::now() < deadline,
            "they are busy and it does not show"
        );
        thread::sleep(Duration::from_millis(5));
    }
    for _ in 0..10 {
        assert_eq!(pool.least_loaded(), &pool.loops()[1]);
        assert_eq!(pool.choose(), &pool.loops()[1]);
    }
    let on_loop = pool.clone();
    let chosen = pool.loops()[0].spawn(move || async move {
        let current = EventLoop::current();
        (on_loop.choose().clone(), current)
    });
    let busy = pool.loops()[0].clone();
    assert_eq!(wait(chosen), Ok((busy.clone(), Some(busy))));
    assert_eq!(EventLoop::current(), None);
    is_over.store(true, Ordering::Relaxed);
}

#[test]
fn among_idle_loops_work_is_spread() {
    let pool = EventLoopPool::start(LoopPoolOptions::default().size(Some(3))).expect("threads");
    let deadline = Instant::now() + PATIENCE;
    while pool.loops().iter().any(|idle| idle.load() > 0.02) {
        assert!(
            Instant::now() < deadline,
            "they are idle and it does not show"
        );
        thread::sleep(Duration::from_millis(5));
    }
    let mut names: Vec<_> = (0..3).map(|_| pool.least_loaded().name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["loop 0", "loop 1", "loop 2"]);
}

#[test]
fn loops_have_a_priority_and_a_cpu() {
    let may_raise = thread::spawn(|| setpriority_process(None, -10).is_ok());
    let expected = match may_raise.join().expect("it does not panic") {
        true => -10,
        false => getpriority_process(None).expect("there is one"),
    };
    let pool = EventLoopPool::start(
        LoopPoolOptions::default()
            .size(Some(2))
            .priority(Priority::High)
            .cpu_affinity(true),
    )
    .expect("threads");
    let seen = pool.loops()[1].spawn(|| async {
        let cpus = sched_getaffinity(None).expect("there are some").count();
        (getpriority_process(None).expect("there is one"), cpus)
    });
    assert_eq!(wait(seen), Ok((expected, 1)));
}

#[test]
fn a_loop_that_cannot_be_made_is_an_error() {
    let nowhere = LoopOptions::default().cpu(Some(100_000));
    assert!(EventLoop::start(nowhere).is_err());
    let none = LoopPoolOptions::default().size(Some(0));
    assert!(EventLoopPool::start(none).is_err());
}

#[test]
fn a_timer_goes_on_until_its_callback_says_so() {
    let event_loop = start();
    let (tell, ticks) = mpsc::channel();
    let mut count = 0;
    let began = Instant::now();
    let period = Duration::from_millis(5);
    let timer = Timer::every(&event_loop, period, move || {
        count += 1;
        tell.send(count).expect("the test waits");
        if count < 3 {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    // The sender goes with the callback.
    assert_eq!(ticks.iter().collect::<Vec<_>>(), [1, 2, 3]);
    assert!(began.elapsed() >= 3 * period);
    while !timer.has_ended() {
        thread::yield_now();
    }
}

#[test]
fn a_timer_whose_callback_panics_ticks_on() {
    let event_loop = start();
    let (tell, ticks) = mpsc::channel();
    let mut count = 0;
    let timer = Timer::every(&event_loop, Duration::from_millis(5), move || {
        count += 1;
        tell.send(count).expect("the test waits");
        match count {
            1 | 2 => panic!("as asked"),
            3 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    });
    assert_eq!(ticks.iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
    while !timer.has_ended() {
        thread::yield_now();
    }
}

#[test]
fn a_period_that_no_clock_can_hold_is_a_long_one() {
    let event_loop = start();
    let timer = Timer::every(&event_loop, Duration::MAX, || ControlFlow::Break(()));
    // Behind it in the queue: by then it has begun to wait.
    wait(event_loop.spawn(|| async {})).expect("it runs");
    assert!(!timer.has_ended());
}

#[test]
fn a_timer_that_is_dropped_on_its_loop_ticks_no_more() {
    let event_loop = start();
    let inner = event_loop.clone();
    let counts = event_loop.spawn(move || async move {
        let ticks = Arc::new(AtomicUsize::new(0));
        let counting = ticks.clone();
        let ticked = Arc::new(Notify::new());
        let tell = ticked.clone();
        let timer = Timer::every(&inner, Duration::from_millis(1), move || {
            counting.fetch_add(1, Ordering::Relaxed);
            tell.notify_one();
            ControlFlow::Continue(())
        });
        ticked.notified().await;
        // Let the next one come due before the drop.
        thread::sleep(Duration::from_millis(5));
        drop(timer);
        let at_drop = ticks.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(20)).await;
        (
            at_drop,
            ticks.load(Ordering::Relaxed),
            Arc::strong_count(&ticks),
        )
    });
    let (at_drop, later, holders) = wait(counts).expect("it runs");
    assert_eq!(later, at_drop);
    assert_eq!(holders, 1, "the callback was dropped");
}

#[test]
fn a_timer_does_not_keep_its_owner() {
    let event_loop = start();
    let owner = Arc::new(AtomicUsize::new(0));
    let (tell, ticks) = mpsc::channel();
    let timer = Timer::of(
        &owner,
        &event_loop,
        Duration::from_millis(1),
        move |owner: &AtomicUsize| {
            let _ = tell.send(owner.fetch_add(1, Ordering::Relaxed));
            ControlFlow::Continue(())
        },
    );
    ticks.recv_timeout(PATIENCE).expect("it ticks");
    drop(owner);
    // It ends, and its callback with it.
    while ticks.recv_timeout(PATIENCE).is_ok() {}
    while !timer.has_ended() {
        thread::yield_now();
    }
}
