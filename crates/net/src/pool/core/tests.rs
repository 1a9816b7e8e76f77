use std::time::Duration;

use proptest::prelude::*;

use super::*;

type Pool = Core<u8, u32, u32>;

const SECOND: Duration = Duration::from_secs(1);

fn options(max_per_key: usize, max_total: usize) -> PoolOptions {
    PoolOptions {
        max_per_key,
        max_total,
        max_idle_per_key: 2,
        max_idle: 10 * SECOND,
        max_age: 60 * SECOND,
        lead: SECOND,
        max_waiting: 8,
        ..PoolOptions::default()
    }
}

fn age(now: Instant) -> Age {
    Age {
        born: now,
        used: now,
    }
}

#[test]
fn the_one_used_last_is_lent_first() {
    let now = Instant::now();
    let mut pool = Pool::new(options(4, 4));
    for _ in 0..2 {
        assert_eq!(pool.ask(&1, now), Ask::Dial);
    }
    assert_eq!(pool.give_back(&1, 10, age(now), now), None);
    assert_eq!(pool.give_back(&1, 11, age(now), now), None);
    assert_eq!(pool.ask(&1, now), Ask::Reuse(11));
    assert_eq!(pool.ask(&1, now), Ask::Reuse(10));
    assert_eq!(pool.ask(&1, now), Ask::Dial);
    check(&pool);
}

#[test]
fn none_is_lent_in_the_last_second_before_the_peer_gives_it_up() {
    let now = Instant::now();
    let mut pool = Pool::new(options(4, 4));
    for (used, expected) in [
        (9 * SECOND, Ask::Dial),
        (9 * SECOND - Duration::from_nanos(1), Ask::Reuse(7)),
    ] {
        assert_eq!(pool.ask(&1, now), Ask::Dial);
        assert_eq!(pool.give_back(&1, 7, age(now), now), None);
        assert_eq!(pool.ask(&1, now + used), expected);
        check(&pool);
    }
    assert_eq!(pool.take_closing(), [7]);
}

#[test]
fn the_clock_of_idleness_starts_at_the_last_byte_not_at_the_return() {
    let now = Instant::now();
    let mut pool = Pool::new(options(4, 4));
    assert_eq!(pool.ask(&1, now), Ask::Dial);
    let late = now + 8 * SECOND;
    assert_eq!(pool.give_back(&1, 7, age(now), late), None);
    assert_eq!(pool.ask(&1, late + SECOND), Ask::Dial);
}

#[test]
fn at_the_total_cap_the_one_at_rest_longest_gives_way_to_another_key() {
    let now = Instant::now();
    let mut pool = Pool::new(options(2, 2));
    for key in [1, 2] {
        assert_eq!(pool.ask(&key, now), Ask::Dial);
    }
    assert_eq!(pool.give_back(&1, 10, age(now), now), None);
    let later = now + SECOND;
    assert_eq!(pool.give_back(&2, 20, age(later), later), None);
    assert_eq!(pool.ask(&3, later), Ask::Dial);
    assert_eq!(pool.take_closing(), [10]);
    assert!(!pool.knows(&1));
    check(&pool);
}

#[test]
fn the_longest_waiter_for_the_total_is_served_even_by_a_connection_of_another_key() {
    let now = Instant::now();
    let mut pool = Pool::new(options(1, 1));
    assert_eq!(pool.ask(&1, now), Ask::Dial);
    assert_eq!(pool.ask(&2, now), Ask::Wait);
    assert_eq!(pool.wait(&2, 200), Some(0));
    assert_eq!(pool.ask(&1, now), Ask::Wait);
    assert_eq!(pool.wait(&1, 100), Some(1));
    assert_eq!(
        pool.give_back(&1, 10, age(now), now),
        Some((200, Grant::Dial))
    );
    assert_eq!(pool.take_closing(), [10]);
    assert_eq!(pool.free(&2), Some((100, Grant::Dial)));
    check(&pool);
}

#[test]
fn a_full_queue_refuses() {
    let now = Instant::now();
    let mut pool = Pool::new(options(1, 1));
    assert_eq!(pool.ask(&1, now), Ask::Dial);
    for waiter in 0..8 {
        assert_eq!(pool.wait(&1, waiter), Some(u64::from(waiter)));
    }
    assert_eq!(pool.wait(&1, 8), None);
    pool.leave(&1, 0);
    assert_eq!(pool.free(&1), Some((1, Grant::Dial)));
    assert_eq!(pool.wait(&1, 9), Some(8));
    check(&pool);
}

#[test]
fn a_useless_one_is_replaced_by_the_next_at_rest_then_by_its_permit() {
    let now = Instant::now();
    let mut pool = Pool::new(options(4, 4));
    for _ in 0..2 {
        assert_eq!(pool.ask(&1, now), Ask::Dial);
    }
    for connection in [10, 11] {
        assert_eq!(pool.give_back(&1, connection, age(now), now), None);
    }
    assert_eq!(pool.ask(&1, now), Ask::Reuse(11));
    assert_eq!(pool.replace(&1, now), Ask::Reuse(10));
    assert_eq!(pool.open(), 1);
    assert_eq!(pool.replace(&1, now), Ask::Dial);
    assert_eq!(pool.open(), 1);
    check(&pool);
}

/// What happens to a pool.
#[derive(Debug, Clone)]
enum Event {
    Ask(u8),
    Reserve(u8),
    GiveBack(usize),
    Free(usize),
    Replace(usize),
    Leave(usize),
    Pass(Duration),
    Expire,
    Discard(u32),
    Clear,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0u8..4).prop_map(Event::Ask),
        1 => (0u8..4).prop_map(Event::Reserve),
        4 => any::<usize>().prop_map(Event::GiveBack),
        2 => any::<usize>().prop_map(Event::Free),
        1 => any::<usize>().prop_map(Event::Replace),
        1 => any::<usize>().prop_map(Event::Leave),
        2 => (0u64..4000).prop_map(|ms| Event::Pass(Duration::from_millis(ms))),
        1 => Just(Event::Expire),
        1 => (1u32..4).prop_map(Event::Discard),
        1 => Just(Event::Clear),
    ]
}

proptest! {
    /// Caps hold, nobody overtakes, nothing is lost, whatever happens.
    #[test]
    fn caps_hold_and_nobody_overtakes(
        per_key in 1usize..4,
        total in 1usize..6,
        events in proptest::collection::vec(event(), 1..200),
    ) {
        let mut now = Instant::now();
        let mut pool = Pool::new(options(per_key, total));
        let mut lent: Vec<(u8, u32)> = Vec::new();
        let mut waiting: Vec<(u8, Ticket)> = Vec::new();
        let (mut next, mut next_waiter) = (0, 0);
        let mut made = 0usize;
        let mut closed = 0usize;
        for event in events {
            let mut granted = None;
            match event {
                Event::Ask(key) => match pool.ask(&key, now) {
                    Ask::Reuse(connection) => lent.push((key, connection)),
                    Ask::Dial => { made += 1; next += 1; lent.push((key, next)) }
                    Ask::Wait => {
                        if let Some(ticket) = pool.wait(&key, next_waiter) {
                            // Waiters are numbered as their tickets are.
                            prop_assert_eq!(ticket, u64::from(next_waiter));
                            next_waiter += 1;
                            waiting.push((key, ticket));
                        } else {
                            prop_assert_eq!(waiting.len(), 8);
                        }
                    }
                },
                Event::Reserve(key) if pool.reserve(&key) => {
                    made += 1;
                    next += 1;
                    lent.push((key, next));
                },
                Event::GiveBack(at) if !lent.is_empty() => {
                    let (key, connection) = lent.swap_remove(at % lent.len());
                    let first = first_to_serve(&pool, key, per_key, &waiting);
                    granted = Some((first, pool.give_back(&key, connection, age(now), now)));
                }
                Event::Free(at) if !lent.is_empty() => {
                    let (key, _) = lent.swap_remove(at % lent.len());
                    closed += 1;
                    let first = first_to_serve(&pool, key, per_key, &waiting);
                    granted = Some((first, pool.free(&key)));
                }
                Event::Replace(at) if !lent.is_empty() => {
                    let at = at % lent.len();
                    closed += 1;
                    lent[at].1 = match pool.replace(&lent[at].0, now) {
                        Ask::Reuse(connection) => connection,
                        _ => { made += 1; next += 1; next }
                    };
                }
                Event::Leave(at) if !waiting.is_empty() => {
                    let (key, ticket) = waiting.swap_remove(at % waiting.len());
                    pool.leave(&key, ticket);
                }
                Event::Pass(time) => now += time,
                Event::Expire => {
                    let next = pool.expire(now);
                    prop_assert_eq!(next.is_none(), pool.resting() == 0);
                    prop_assert!(next.is_none_or(|next| next > now));
                }
                Event::Discard(nth) => pool.discard(|connection| *connection % nth == 0),
                Event::Clear => pool.clear(),
                _ => {}
            }
            if let Some((first, grant)) = granted {
                let served = grant.as_ref().map(|(waiter, _)| u64::from(*waiter));
                prop_assert_eq!(served, first);
                if let Some((_, grant)) = grant {
                    let at = waiting.iter().position(|(_, ticket)| Some(*ticket) == first).unwrap();
                    let (key, _) = waiting.swap_remove(at);
                    lent.push((key, match grant {
                        Grant::Reuse(connection) => connection,
                        Grant::Dial => { made += 1; next += 1; next }
                    }));
                }
            }
            closed += pool.take_closing().len();
            check(&pool);
            prop_assert_eq!(pool.open() - pool.resting(), lent.len());
            prop_assert_eq!(pool.waiting(), waiting.len());
            prop_assert_eq!(made - closed, lent.len() + pool.resting());
        }
    }
}

/// The waiter to serve once a permit of `freed` is free: the first of those that may then have one more.
fn first_to_serve(
    pool: &Pool,
    freed: u8,
    per_key: usize,
    waiting: &[(u8, Ticket)],
) -> Option<Ticket> {
    let open = |key: u8| pool.keys.get(&key).map_or(0, |shelf| shelf.open);
    waiting
        .iter()
        .filter(|(key, _)| open(*key) - usize::from(*key == freed) < per_key)
        .map(|(_, ticket)| *ticket)
        .min()
}

/// What is true between calls.
fn check(pool: &Pool) {
    let PoolOptions {
        max_per_key,
        max_total,
        max_idle_per_key,
        max_waiting,
        ..
    } = pool.options;
    let sum = |of: fn(&Shelf<u32, u32>) -> usize| pool.keys.values().map(of).sum::<usize>();
    assert_eq!(pool.open, sum(|shelf| shelf.open));
    assert_eq!(pool.resting, sum(|shelf| shelf.resting.len()));
    assert_eq!(pool.waiting, sum(|shelf| shelf.waiters.len()));
    assert!(pool.open <= max_total && pool.waiting <= max_waiting);
    let mut short = BTreeMap::new();
    for (key, shelf) in &pool.keys {
        assert!(!shelf.is_empty(), "an empty key is kept");
        assert!(shelf.open <= max_per_key && shelf.resting.len() <= max_idle_per_key);
        assert!(shelf.resting.len() <= shelf.open);
        if let Some(first) = shelf.first_waiter() {
            assert!(shelf.resting.is_empty(), "one waits beside one at rest");
            if shelf.open < max_per_key {
                assert!(pool.open == max_total && pool.resting == 0);
                short.insert(first, *key);
            }
        }
    }
    assert_eq!(pool.short_of_total, short);
}
