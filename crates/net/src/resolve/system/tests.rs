//! The threads that resolve.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::admission::{Admission, Admitted, COMMON_THREADS, STUCK_AFTER};
use super::*;

/// Far more than any of it takes, even on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(20);
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// A door that look-ups wait at, of names with `hole` in them or of IPv6 alone, and how many calls there were.
#[derive(Default)]
struct Door {
    open: Mutex<bool>,
    opened: Condvar,
    calls: AtomicUsize,
}

impl Door {
    fn resolver(self: &Arc<Self>) -> SystemResolver {
        let door = Arc::clone(self);
        SystemResolver::with_function(move |name, families| {
            door.calls.fetch_add(1, Ordering::SeqCst);
            if name.contains("hole") || name.contains("half") && families == Families::Ipv6 {
                let open = door.open.lock().unwrap();
                drop(door.opened.wait_while(open, |open| !*open).unwrap());
            }
            Ok(vec![HERE])
        })
    }

    fn close(&self) {
        *self.open.lock().unwrap() = false;
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

/// Threads that wait at a door which never opens would outlive the test.
struct OpenAtLast(Arc<Door>);

impl Drop for OpenAtLast {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// What it says of one family.
async fn ask(resolver: &SystemResolver, name: &str) -> Result<Answer, ResolveError> {
    match resolver.look_up(name, Families::Ipv4) {
        Lookups::Together(answer) => answer.await,
        Lookups::Apart { .. } => panic!("one family was asked for"),
    }
}

/// Its look-ups of IPv6 and of IPv4.
fn apart(resolver: &SystemResolver, name: &str) -> (Lookup, Lookup) {
    match resolver.look_up(name, Families::Both) {
        Lookups::Apart { ipv6, ipv4 } => (ipv6, ipv4),
        Lookups::Together(_) => panic!("the families are separate look-ups"),
    }
}

fn here() -> Result<Answer, ResolveError> {
    Ok(Answer {
        addresses: vec![HERE],
        ttl: None,
        stale: false,
    })
}

#[tokio::test]
async fn a_hundred_look_ups_of_a_silent_name_hold_one_thread_and_delay_no_other() {
    let door = Arc::new(Door::default());
    let _open = OpenAtLast(Arc::clone(&door));
    let resolver = door.resolver();
    let mut stuck = JoinSet::new();
    for _ in 0..100 {
        let resolver = resolver.clone();
        stuck.spawn(async move { ask(&resolver, "hole.test").await });
    }
    // The runtime runs some 60 of them each time; a caller that asks only once the door is open has a look-up of its own.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    while door.calls.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let other = timeout(PATIENCE, ask(&resolver, "other.test")).await;
    assert_eq!(other, Ok(here()));
    assert_eq!(resolver.threads(), 2);
    door.open();
    while let Some(answer) = stuck.join_next().await {
        assert_eq!(answer.unwrap(), here());
    }
    assert_eq!(door.calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn names_whose_ipv6_look_up_hangs_take_no_thread_from_ipv4() {
    let door = Arc::new(Door::default());
    let _open = OpenAtLast(Arc::clone(&door));
    let resolver = door.resolver();
    let mut stuck = JoinSet::new();
    // More than there are threads.
    for index in 0..2 * MAX_THREADS {
        let (ipv6, ipv4) = apart(&resolver, &format!("half-{index}.test"));
        stuck.spawn(ipv6);
        assert_eq!(timeout(PATIENCE, ipv4).await, Ok(here()));
    }
    // Those that no thread is left for have said so at once.
    assert!(resolver.threads() <= 2 * MAX_THREADS);
    door.open();
    while let Some(answer) = timeout(PATIENCE, stuck.join_next()).await.unwrap() {
        let answer = answer.unwrap();
        let is_busy = matches!(answer, Err(ResolveError::Busy { .. }));
        assert!(is_busy || answer == here(), "{answer:?}");
    }
}

#[tokio::test]
async fn a_look_up_that_nobody_awaits_any_more_is_joined_by_the_next() {
    let door = Arc::new(Door::default());
    let _open = OpenAtLast(Arc::clone(&door));
    let resolver = door.resolver();
    let first = timeout(Duration::from_millis(20), ask(&resolver, "hole.test")).await;
    assert!(first.is_err());
    let (second, ()) = tokio::join!(ask(&resolver, "Hole.TEST"), async {
        tokio::task::yield_now().await;
        door.open();
    });
    assert_eq!(second, here());
    assert_eq!(door.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn when_every_thread_is_stuck_the_next_name_is_refused_at_once() {
    let door = Arc::new(Door::default());
    let _open = OpenAtLast(Arc::clone(&door));
    let resolver = door.resolver();
    let mut stuck = JoinSet::new();
    for index in 0..COMMON_THREADS {
        let resolver = resolver.clone();
        stuck.spawn(async move { ask(&resolver, &format!("hole-{index}.test")).await });
    }
    while door.calls.load(Ordering::SeqCst) < COMMON_THREADS {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Names that come while a thread may yet get on wait for one; their callers' deadlines bound that. Each is
    // another: one that is queued already would be joined.
    let mut names = (0..).map(|index| format!("late-{index}.test"));
    let refused = async {
        loop {
            let name = names.next().expect("there is always another");
            match timeout(Duration::from_millis(10), ask(&resolver, &name)).await {
                Ok(outcome) => break outcome,
                Err(_) => continue,
            }
        }
    };
    let busy = Err(ResolveError::Busy {
        threads: COMMON_THREADS,
    });
    assert_eq!(timeout(PATIENCE, refused).await, Ok(busy));
    assert_eq!(resolver.threads(), COMMON_THREADS);
    door.open();
    // Before the first has got on, another name would be refused still.
    while let Some(answer) = stuck.join_next().await {
        assert_eq!(answer.unwrap(), here());
    }
    let after = timeout(PATIENCE, ask(&resolver, "after.test")).await;
    assert_eq!(after, Ok(here()));
}

#[tokio::test]
async fn names_that_were_answered_lately_still_are_while_every_common_thread_is_stuck() {
    let door = Arc::new(Door::default());
    let _open = OpenAtLast(Arc::clone(&door));
    let resolver = door.resolver();
    assert_eq!(ask(&resolver, "known.test").await, here());
    let mut stuck = JoinSet::new();
    for index in 0..COMMON_THREADS {
        let resolver = resolver.clone();
        stuck.spawn(async move { ask(&resolver, &format!("hole-{index}.test")).await });
    }
    while door.calls.load(Ordering::SeqCst) <= COMMON_THREADS {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for _ in 0..100 {
        let known = timeout(PATIENCE, ask(&resolver, "known.test")).await;
        assert_eq!(known, Ok(here()));
    }
    // One thread was enough.
    assert_eq!(resolver.threads(), COMMON_THREADS + 1);
    assert!(stuck.try_join_next().is_none());
}

#[tokio::test]
async fn the_threads_stay_bounded_when_names_that_were_answered_lately_hang_too() {
    let door = Arc::new(Door::default());
    let _open = OpenAtLast(Arc::clone(&door));
    let resolver = door.resolver();
    door.open();
    let names: Vec<_> = (0..MAX_THREADS + 1)
        .map(|index| format!("hole-{index}.test"))
        .collect();
    for name in &names {
        assert_eq!(ask(&resolver, name).await, here());
    }
    door.close();
    let (last, stuck_names) = names.split_last().unwrap();
    let mut stuck = JoinSet::new();
    for name in stuck_names {
        let (resolver, name) = (resolver.clone(), name.clone());
        stuck.spawn(async move { ask(&resolver, &name).await });
    }
    while door.calls.load(Ordering::SeqCst) < names.len() + MAX_THREADS {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(resolver.threads(), MAX_THREADS);
    tokio::time::sleep(STUCK_AFTER).await;
    let refused = timeout(PATIENCE, ask(&resolver, last)).await;
    assert!(
        matches!(refused, Ok(Err(ResolveError::Busy { .. }))),
        "{refused:?}"
    );
    door.open();
    while let Some(answer) = timeout(PATIENCE, stuck.join_next()).await.unwrap() {
        assert_eq!(answer.unwrap(), here());
    }
}

#[tokio::test]
async fn a_burst_of_more_names_than_threads_is_answered() {
    let resolver = Arc::new(Door::default()).resolver();
    let mut asked = JoinSet::new();
    for index in 0..MAX_THREADS + MAX_QUEUED / 8 {
        let resolver = resolver.clone();
        asked.spawn(async move { ask(&resolver, &format!("name-{index}.test")).await });
    }
    while let Some(answer) = timeout(PATIENCE, asked.join_next()).await.unwrap() {
        assert_eq!(answer.unwrap(), here());
    }
}

#[tokio::test]
async fn a_look_up_that_panics_fails_and_harms_no_other() {
    let resolver = SystemResolver::with_function(|name, _| match name {
        "panics.test" => panic!("as the test wants"),
        _ => Ok(vec![HERE]),
    });
    let failed = ask(&resolver, "panics.test").await;
    assert_eq!(
        failed,
        Err(ResolveError::Failed {
            name: "panics.test".into(),
            reason: "the look-up panicked".into()
        })
    );
    assert_eq!(ask(&resolver, "fine.test").await, here());
}

#[test]
fn the_threads_end_with_the_resolver() {
    let ended = Arc::new(());
    let held = Arc::clone(&ended);
    let resolver = SystemResolver::with_function(move |_, _| {
        let _ = &held;
        Ok(vec![HERE])
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    assert_eq!(runtime.block_on(ask(&resolver, "name.test")), here());
    drop(resolver);
    let since = Instant::now();
    // The function goes when the last thread has gone.
    while Arc::strong_count(&ended) > 1 {
        assert!(since.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn names_that_cannot_exist_never_reach_the_system() {
    let resolver = SystemResolver::with_function(|name, _| panic!("asked for {name}"));
    let long = format!("{}.test", "a.".repeat(130));
    for name in [
        "",
        ".",
        "a..b",
        ".a",
        "a b",
        "a/b",
        "bücher.test",
        &long,
        "nul\0.test",
        "0x7f000001",
        "127.1",
        "2130706433.",
    ] {
        let answer = ask(&resolver, name).await;
        assert!(
            matches!(answer, Err(ResolveError::InvalidName { .. })),
            "{name}: {answer:?}"
        );
    }
    for name in ["localhost", "LocalHost.", "app.localhost"] {
        let Lookups::Together(answer) = resolver.look_up(name, Families::Both) else {
            panic!("nobody is asked");
        };
        assert_eq!(
            answer.await.unwrap().addresses,
            [
                "::1".parse::<IpAddr>().unwrap(),
                "127.0.0.1".parse().unwrap()
            ]
        );
    }
}

#[test]
fn names_are_bounded_where_no_more_threads_can_be_started() {
    let now = Instant::now();
    let mut admission = Admission::new(MAX_THREADS, now);
    assert_eq!(admission.admit(now), Admitted::Start);
    admission.taken(now);
    for _ in 0..MAX_QUEUED {
        assert_eq!(admission.admit(now), Admitted::Start);
        admission.gone();
    }
    assert_eq!(admission.admit(now), Admitted::Refused);
    assert_eq!(admission.threads(), 1);
    assert!(!admission.has_room());
}

proptest! {
    /// Whatever happens in whatever order: never more threads or names than the bounds, no name is admitted that no
    /// thread will come to, and none is refused while one could be had.
    #[test]
    fn admission_keeps_its_bounds(events in prop::collection::vec(0u8..6, 1..4000)) {
        let start = Instant::now();
        let mut now = start;
        let mut admission = Admission::new(MAX_THREADS, now);
        let (mut busy, mut idle, mut queued) = (0usize, 0usize, 0usize);
        for event in events {
            now += Duration::from_millis(1);
            match event {
                0..=2 => match admission.admit(now) {
                    Admitted::Wake => { prop_assert!(idle > queued); queued += 1 }
                    Admitted::Start => {
                        prop_assert!(busy + idle < MAX_THREADS);
                        // The new thread takes the first of the queue.
                        admission.taken(now);
                        busy += 1;
                    }
                    Admitted::Wait => {
                        prop_assert_eq!(busy + idle, MAX_THREADS);
                        queued += 1;
                        prop_assert!(queued <= MAX_QUEUED);
                    }
                    Admitted::Refused => prop_assert_eq!(busy + idle, MAX_THREADS),
                },
                // A busy thread ends its look-up and takes the next, or is idle.
                3 if busy > 0 => {
                    admission.ended(now);
                    if queued > 0 {
                        admission.taken(now);
                        queued -= 1;
                    } else {
                        admission.idle();
                        busy -= 1;
                        idle += 1;
                    }
                }
                // An idle one wakes: for work, or to end.
                4 if idle > 0 => {
                    admission.woken();
                    idle -= 1;
                    if queued > 0 {
                        admission.taken(now);
                        queued -= 1;
                        busy += 1;
                    } else {
                        admission.gone();
                    }
                }
                5 => now += Duration::from_millis(600),
                _ => {}
            }
            prop_assert_eq!(admission.threads(), busy + idle);
            prop_assert!(queued == 0 || busy + idle > 0);
        }
    }
}
