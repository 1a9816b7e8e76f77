//! What is kept, for how long, and what is served while the source fails.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::*;
use crate::resolve::cache::{Cache, Key, Known};

const SECOND: Duration = Duration::from_secs(1);

fn key(name: &str) -> Key {
    (Name::parse(name).unwrap(), Families::Both)
}

fn answer(text: &str, ttl: Option<Duration>) -> Answer {
    Answer {
        addresses: vec![ip(text)],
        ttl,
        stale: false,
    }
}

fn failed(name: &str) -> ResolveError {
    ResolveError::Failed {
        name: name.into(),
        reason: "as the test wants".into(),
    }
}

#[test]
fn options_are_written_with_units_and_unknown_ones_refused() {
    let read = |text| toml::from_str::<CacheOptions>(text);
    let options = CacheOptions {
        entries: 10,
        max_stale: Duration::ZERO,
        patience: Duration::from_millis(500),
        ..CacheOptions::default()
    };
    let text = "entries = 10\nmax_stale = \"0s\"\npatience = \"500ms\"";
    assert_eq!(read(text), Ok(options));
    assert!(read("ttl = 30").is_err());
    assert!(read("time_to_live = \"30s\"").is_err());
}

#[test]
fn times_that_no_clock_can_hold_are_long_ones() {
    let mut cache = Cache::new(CacheOptions {
        ttl: Duration::MAX,
        max_ttl: Duration::MAX,
        recheck: Duration::MAX,
        ..CacheOptions::default()
    });
    let (key, start) = (key("name.test"), Instant::now());
    cache.keep(&key, &Ok(answer("192.0.2.1", None)), start);
    cache.failed(&key, start);
    assert!(matches!(
        cache.find(&key, start + 3600 * SECOND),
        Known::Holds(_)
    ));
}

#[test]
fn an_answer_holds_for_its_ttl_and_says_the_rest_of_it() {
    let start = Instant::now();
    let mut cache = Cache::new(CacheOptions::default());
    let key = key("chat.test");
    assert_eq!(cache.find(&key, start), Known::Nothing);
    cache.keep(&key, &Ok(answer("192.0.2.1", Some(10 * SECOND))), start);
    for (after, left) in [(0, 10), (4, 6), (9, 1)] {
        assert_eq!(
            cache.find(&key, start + after * SECOND),
            Known::Holds(Ok(answer("192.0.2.1", Some(left * SECOND))))
        );
    }
    let old = Answer {
        stale: true,
        ..answer("192.0.2.1", Some(30 * SECOND))
    };
    assert_eq!(cache.find(&key, start + 10 * SECOND), Known::Stale(old));
    let day = CacheOptions::default().max_stale;
    assert_eq!(cache.find(&key, start + 10 * SECOND + day), Known::Nothing);
    assert_eq!(cache.len(), 0);
}

#[test]
fn a_source_that_does_not_say_or_says_too_much_is_given_a_ttl() {
    let start = Instant::now();
    let mut cache = Cache::new(CacheOptions::default());
    let kept = |cache: &mut Cache, outcome: Result<Answer, ResolveError>| {
        cache.keep(&key("chat.test"), &outcome, start);
        match cache.find(&key("chat.test"), start) {
            Known::Holds(Ok(answer)) => answer.ttl,
            Known::Holds(Err(ResolveError::NotFound { ttl, .. })) => ttl,
            other => panic!("{other:?}"),
        }
    };
    let gone = |ttl| {
        Err(ResolveError::NotFound {
            name: "chat.test".into(),
            ttl,
        })
    };
    let options = CacheOptions::default();
    let week = 7 * 24 * 3600 * SECOND;
    assert_eq!(
        kept(&mut cache, Ok(answer("192.0.2.1", None))),
        Some(options.ttl)
    );
    assert_eq!(
        kept(&mut cache, Ok(answer("192.0.2.1", Some(week)))),
        Some(options.max_ttl)
    );
    assert_eq!(kept(&mut cache, gone(None)), Some(options.negative_ttl));
    assert_eq!(
        kept(&mut cache, gone(Some(week))),
        Some(options.max_negative_ttl)
    );
    assert_eq!(cache.len(), 1);
}

#[test]
fn an_old_answer_outlives_failures_but_not_the_word_that_the_name_is_gone() {
    let start = Instant::now();
    let mut cache = Cache::new(CacheOptions::default());
    let key = key("chat.test");
    cache.keep(&key, &Ok(answer("192.0.2.1", Some(SECOND))), start);
    let later = start + 5 * SECOND;
    assert!(matches!(cache.find(&key, later), Known::Stale(_)));
    cache.keep(&key, &Err(failed("chat.test")), later);
    // Now the source is left alone for a while.
    let Known::Holds(Ok(old)) = cache.find(&key, later + 29 * SECOND) else {
        panic!("the old answer is served");
    };
    assert!(old.stale);
    assert!(matches!(
        cache.find(&key, later + 30 * SECOND),
        Known::Stale(_)
    ));
    cache.keep(&key, &Err(not_found("chat.test")), later + 30 * SECOND);
    assert!(matches!(
        cache.find(&key, later + 31 * SECOND),
        Known::Holds(Err(ResolveError::NotFound { .. }))
    ));
    // What failed without an older answer is not kept.
    let other = super::cache::key("other.test");
    cache.keep(&other, &Err(failed("other.test")), later);
    assert_eq!(cache.find(&other, later), Known::Nothing);
}

proptest! {
    /// Beside a model: what the cache says is what was last kept, with the right age; it never has more entries
    /// than it may, and what it has forgotten was used least recently.
    #[test]
    fn the_cache_is_like_its_model(
        entries in 0usize..6,
        events in prop::collection::vec((0u8..8, 0u8..4, 1u32..20), 1..400),
    ) {
        let options = CacheOptions { entries, max_stale: 15 * SECOND, recheck: 3 * SECOND, ..CacheOptions::default() };
        let mut cache = Cache::new(options.clone());
        // Name, to the time it was kept, its TTL and address; and names by use, the last one last.
        let mut model: HashMap<u8, (Instant, Duration, IpAddr)> = HashMap::new();
        let mut used: Vec<u8> = Vec::new();
        let mut now = Instant::now();
        for (index, (name, event, seconds)) in events.into_iter().enumerate() {
            let key = key(&format!("name-{name}.test"));
            match event {
                0 => now += seconds * SECOND,
                1 | 2 => {
                    let ip = IpAddr::from([10, 0, (index >> 8) as u8, index as u8]);
                    let ttl = seconds * SECOND;
                    cache.keep(&key, &Ok(Answer { addresses: vec![ip], ttl: Some(ttl), stale: false }), now);
                    used.retain(|other| *other != name);
                    model.remove(&name);
                    if entries > 0 {
                        if used.len() == entries {
                            model.remove(&used.remove(0));
                        }
                        used.push(name);
                        model.insert(name, (now, ttl, ip));
                    }
                }
                _ => {
                    let found = cache.find(&key, now);
                    match model.get(&name) {
                        Some((kept, ttl, ip)) if now < *kept + *ttl => {
                            let left = *kept + *ttl - now;
                            let holds = Answer { addresses: vec![*ip], ttl: Some(left), stale: false };
                            prop_assert_eq!(found, Known::Holds(Ok(holds)));
                            used.retain(|other| *other != name);
                            used.push(name);
                        }
                        Some((kept, ttl, ip)) if now < *kept + *ttl + options.max_stale => {
                            let old = Answer { addresses: vec![*ip], ttl: Some(30 * SECOND), stale: true };
                            prop_assert_eq!(found, Known::Stale(old));
                        }
                        _ => {
                            prop_assert_eq!(found, Known::Nothing);
                            model.remove(&name);
                            used.retain(|other| *other != name);
                        }
                    }
                }
            }
            prop_assert!(cache.len() <= entries);
            prop_assert_eq!(cache.len(), model.len());
        }
    }
}

/// A source whose answers wait for permits, and say what they are told.
#[derive(Debug)]
struct Source {
    permits: Semaphore,
    calls: AtomicUsize,
    outcome: Mutex<Result<Answer, ResolveError>>,
}

impl Source {
    fn new(outcome: Result<Answer, ResolveError>) -> Arc<Self> {
        Arc::new(Self {
            permits: Semaphore::new(0),
            calls: AtomicUsize::new(0),
            outcome: Mutex::new(outcome),
        })
    }

    fn say(&self, outcome: Result<Answer, ResolveError>) {
        *self.outcome.lock().unwrap() = outcome;
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

/// As its own type, so that futures can hold it.
#[derive(Debug)]
struct Shared(Arc<Source>);

impl Resolver for Shared {
    fn look_up(&self, _: &str, _: Families) -> Lookups {
        let source = Arc::clone(&self.0);
        Lookups::Together(Box::pin(async move {
            source.calls.fetch_add(1, Ordering::SeqCst);
            source.permits.acquire().await.unwrap().forget();
            source.outcome.lock().unwrap().clone()
        }))
    }
}

fn caching(source: &Arc<Source>, options: CacheOptions) -> CachingResolver {
    CachingResolver::new(Arc::new(Shared(Arc::clone(source))), options)
}

#[tokio::test]
async fn equal_look_ups_are_one_even_if_some_callers_give_up() {
    let source = Source::new(Ok(answer("192.0.2.1", None)));
    let resolver = caching(&source, CacheOptions::default());
    let mut asked = JoinSet::new();
    let first = asked.spawn({
        let resolver = resolver.clone();
        async move { ask(&resolver, "chat.test").await }
    });
    while source.calls() == 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..20 {
        let resolver = resolver.clone();
        asked.spawn(async move { ask(&resolver, "CHAT.test").await });
    }
    tokio::task::yield_now().await;
    first.abort();
    while !first.is_finished() {
        tokio::task::yield_now().await;
    }
    source.permits.add_permits(1);
    let mut answered = 0;
    while let Some(outcome) = asked.join_next().await {
        if let Ok(outcome) = outcome {
            assert_eq!(outcome.unwrap().addresses, [ip("192.0.2.1")]);
            answered += 1;
        }
    }
    assert_eq!((answered, source.calls()), (20, 1));
    // And now it is known.
    assert!(ask(&resolver, "chat.test").await.is_ok());
    assert_eq!(source.calls(), 1);
}

#[tokio::test]
async fn look_ups_that_all_gave_up_leave_nothing_behind() {
    let source = Source::new(Ok(answer("192.0.2.1", None)));
    let resolver = caching(&source, CacheOptions::default());
    for index in 0..1000 {
        let name = format!("name-{index}.test");
        let asked = tokio::time::timeout(Duration::ZERO, ask(&resolver, &name));
        assert!(asked.await.is_err());
    }
    assert!(resolver.running() <= 200, "{}", resolver.running());
    source.permits.add_permits(1);
    assert!(ask(&resolver, "name-7.test").await.is_ok());
}

/// Options under which an answer is out of date at once.
fn aged(patience: Duration) -> CacheOptions {
    CacheOptions {
        ttl: Duration::ZERO,
        recheck: Duration::ZERO,
        patience,
        ..CacheOptions::default()
    }
}

#[tokio::test]
async fn an_old_answer_is_served_while_the_source_fails() {
    let source = Source::new(Ok(answer("192.0.2.1", None)));
    let resolver = caching(&source, aged(Duration::from_secs(60)));
    source.permits.add_permits(4);
    assert!(!ask(&resolver, "chat.test").await.unwrap().stale);
    source.say(Err(failed("chat.test")));
    let old = ask(&resolver, "chat.test").await.unwrap();
    assert_eq!((old.addresses, old.stale), (vec![ip("192.0.2.1")], true));
    source.say(Err(ResolveError::Busy { threads: 256 }));
    assert!(ask(&resolver, "chat.test").await.unwrap().stale);
    source.say(Err(not_found("chat.test")));
    assert_eq!(
        ask(&resolver, "chat.test").await,
        Err(not_found("chat.test"))
    );
}

#[tokio::test]
async fn an_old_answer_is_served_while_the_source_is_slow_and_replaced_when_it_comes() {
    let source = Source::new(Ok(answer("192.0.2.1", None)));
    let resolver = caching(&source, aged(Duration::from_millis(20)));
    source.permits.add_permits(1);
    assert!(!ask(&resolver, "chat.test").await.unwrap().stale);
    // No permit: it does not answer. All the same nobody waits for long, and it is asked only once.
    for _ in 0..3 {
        assert!(ask(&resolver, "chat.test").await.unwrap().stale);
    }
    assert_eq!(source.calls(), 2);
    source.say(Ok(answer("192.0.2.2", Some(100 * SECOND))));
    source.permits.add_permits(1);
    // Nobody awaits it, and still it comes to be known.
    while resolver.running() > 0 {
        tokio::task::yield_now().await;
    }
    let new = ask(&resolver, "chat.test").await.unwrap();
    assert_eq!((new.addresses, new.stale), (vec![ip("192.0.2.2")], false));
    assert_eq!(source.calls(), 2);
}
