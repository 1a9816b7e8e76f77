//! Which peer a connection gets.

use super::*;

#[test]
fn each_peer_has_its_turn_as_often_as_it_weighs() {
    let mut upstream = upstream(
        r#"peers = [{ address = "tcp://h.example:9", weight = 1 }, { address = "tcp://10.0.0.1:1", weight = 5 },
           "tcp://10.0.0.2:2", "tcp://10.0.0.3:3"]"#,
    );
    // As nginx's: the heavy one is spread evenly.
    assert_eq!(chosen(&mut upstream, 14), "aabacaaaabacaa");
}

#[test]
fn a_failed_peer_is_left_out_until_its_time_is_over_and_then_tried_by_one() {
    let mut upstream = upstream(
        r#"peers = ["tcp://10.0.0.1:1", "tcp://10.0.0.1:2"]
           fail_timeout = "10s""#,
    );
    let (first, peer) = choose(&mut upstream, 0).expect("a peer");
    assert_eq!(first, 'a');
    let turn = upstream.failed(peer, 5, Failure::TimedOut, Duration::from_millis(5));
    assert_eq!(turn, Some(Turn::TakenOut));
    assert_eq!(chosen(&mut upstream, 4), "bbbb");
    let trial = |upstream: &mut Upstream| choose(upstream, 10_006).expect("a peer");
    let trials: Vec<_> = (0..4).map(|_| trial(&mut upstream)).collect();
    let names: String = trials.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.matches('a').count(), 1, "{names}");
    let (_, peer) = trials.iter().find(|(name, _)| *name == 'a').expect("one");
    let turn = upstream.connected(*peer, 10_007, Duration::from_millis(1));
    assert_eq!(turn, Some(Turn::Back));
}

#[test]
fn a_connection_tries_each_peer_once() {
    let mut upstream = upstream(
        r#"peers = ["tcp://10.0.0.1:1", "tcp://10.0.0.1:2", { address = "tcp://10.0.0.1:3", backup = true }]"#,
    );
    let mut attempts = Attempts::new(0);
    for expected in ['a', 'b', 'c'] {
        let (name, peer) = again(&mut upstream, 0, &mut attempts).expect("a peer");
        assert_eq!(name, expected);
        upstream.failed(peer, 0, Failure::System(111), Duration::ZERO);
    }
    assert_eq!(
        again(&mut upstream, 0, &mut attempts),
        Err(NoPeer::NoneLive)
    );
}

#[test]
fn attempts_are_bounded_by_number_and_by_time() {
    let peers = r#"peers = ["tcp://10.0.0.1:1", "tcp://10.0.0.1:2", "tcp://10.0.0.1:3"]"#;
    let mut upstream = upstream(&format!(
        "{peers}\nnext = {{ tries = 2, timeout = \"3s\" }}\nconnect_timeout = \"2s\""
    ));
    let mut attempts = Attempts::new(0);
    let first = upstream.choose(0, b"", &mut attempts).expect("a peer");
    assert_eq!(first.timeout, Duration::from_secs(2));
    upstream.failed(first.peer, 2_000, Failure::TimedOut, first.timeout);
    let second = upstream.choose(2_000, b"", &mut attempts).expect("a peer");
    assert_eq!(second.timeout, Duration::from_secs(1), "what is left");
    upstream.failed(second.peer, 2_900, Failure::TimedOut, second.timeout);
    let third = upstream.choose(2_900, b"", &mut attempts);
    assert_eq!(third, Err(NoPeer::TriesSpent));

    let mut attempts = Attempts::new(0);
    let first = upstream.choose(10, b"", &mut attempts).expect("a peer");
    upstream.failed(first.peer, 3_000, Failure::TimedOut, first.timeout);
    let second = upstream.choose(3_000, b"", &mut attempts);
    assert_eq!(second, Err(NoPeer::TimeSpent));
}

#[test]
fn a_full_peer_gets_nothing_and_entries_with_its_address_share_the_count() {
    let mut upstream = upstream(
        r#"peers = [{ address = "tcp://10.0.0.1:1", max_connections = 2 }, { address = "tcp://10.0.0.1:1", max_connections = 3 },
           { address = "tcp://10.0.0.1:2", backup = true, max_connections = 1 }]"#,
    );
    let mut open = Vec::new();
    let mut got = String::new();
    for _ in 0..4 {
        let (name, peer) = choose(&mut upstream, 0).expect("a peer");
        got.push(name);
        open.push((name, peer));
    }
    assert_eq!(got, "aaab");
    assert_eq!(choose(&mut upstream, 0), Err(NoPeer::Full));
    upstream.closed(open[3].1, 0, Duration::ZERO);
    assert_eq!(choose(&mut upstream, 0).expect("a peer").0, 'b');
    upstream.closed(open[0].1, 0, Duration::ZERO);
    assert_eq!(choose(&mut upstream, 0).expect("a peer").0, 'a');
}

#[test]
fn the_only_peer_is_never_taken_out_and_tried_once() {
    let mut upstream = upstream(r#"peers = ["tcp://10.0.0.1:1"]"#);
    for now in 0..5 {
        let mut attempts = Attempts::new(now);
        let (_, peer) = again(&mut upstream, now, &mut attempts).expect("a peer");
        let turn = upstream.failed(peer, now, Failure::System(111), Duration::ZERO);
        assert_eq!(turn, None);
        let second = again(&mut upstream, now, &mut attempts);
        assert_eq!(second, Err(NoPeer::NoneLive));
    }
}

#[test]
fn a_connection_tries_peers_that_are_out_rather_than_none() {
    let mut upstream = upstream(
        r#"peers = ["tcp://10.0.0.1:1", "tcp://10.0.0.1:2", { address = "tcp://10.0.0.1:3", backup = true }]"#,
    );
    let mut attempts = Attempts::new(0);
    for now in 0..3 {
        let (_, peer) = again(&mut upstream, now, &mut attempts).expect("a peer");
        let turn = upstream.failed(peer, now, Failure::System(111), Duration::ZERO);
        assert_eq!(turn, Some(Turn::TakenOut));
    }
    // All were restarted, and live again.
    let mut attempts = Attempts::new(100);
    let (name, peer) = again(&mut upstream, 100, &mut attempts).expect("one is tried");
    assert_eq!(name, 'a', "the one that failed first");
    let turn = upstream.connected(peer, 101, Duration::ZERO);
    assert_eq!(turn, Some(Turn::Back));
    assert_eq!(choose(&mut upstream, 102).expect("a peer").0, 'a');
}

#[test]
fn failures_count_within_their_time_only() {
    let mut upstream = upstream(
        r#"peers = [{ address = "tcp://10.0.0.1:1", max_fails = 2 }, "tcp://10.0.0.1:2"]
           fail_timeout = "10s""#,
    );
    let fail_first = |upstream: &mut Upstream, now| loop {
        let (name, peer) = choose(upstream, now).expect("a peer");
        if name == 'a' {
            break upstream.failed(peer, now, Failure::TimedOut, Duration::ZERO);
        }
        upstream.closed(peer, now, Duration::ZERO);
    };
    assert_eq!(fail_first(&mut upstream, 0), None);
    // Long after it, a connection that succeeds makes it forgotten.
    loop {
        let (name, peer) = choose(&mut upstream, 20_000).expect("a peer");
        upstream.connected(peer, 20_000, Duration::ZERO);
        upstream.closed(peer, 20_000, Duration::ZERO);
        if name == 'a' {
            break;
        }
    }
    assert_eq!(fail_first(&mut upstream, 20_001), None);
    assert_eq!(fail_first(&mut upstream, 20_002), Some(Turn::TakenOut));
}

#[test]
fn with_no_fails_to_count_no_peer_is_taken_out() {
    let mut upstream = upstream(
        r#"peers = ["tcp://10.0.0.1:1", "tcp://10.0.0.1:2"]
           max_fails = 0"#,
    );
    for _ in 0..10 {
        let (_, peer) = choose(&mut upstream, 0).expect("a peer");
        let turn = upstream.failed(peer, 0, Failure::TimedOut, Duration::ZERO);
        assert_eq!(turn, None);
    }
    assert_eq!(chosen(&mut upstream, 4), "abab");
}

#[test]
fn an_abandoned_attempt_says_nothing_of_its_peer() {
    let mut upstream = upstream(r#"peers = ["tcp://10.0.0.1:1", "tcp://10.0.0.1:2"]"#);
    let (_, peer) = choose(&mut upstream, 0).expect("a peer");
    upstream.abandoned(peer);
    let seen = upstream.snapshot(0);
    assert_eq!((seen.peers[0].open, seen.peers[0].failures), (0, 0));
    assert_eq!(seen.peers[0].state, State::Up);
}

#[test]
fn the_fastest_peer_gets_most_until_its_load_makes_up_for_it() {
    let mut upstream = upstream(
        r#"balance = { kind = "least-time", by = "first-byte" }
           peers = ["tcp://10.0.0.1:1", "tcp://10.0.0.1:2", "tcp://10.0.0.1:3"]"#,
    );
    assert!(upstream.wants_first_byte());
    let times = [('a', 10), ('b', 20), ('c', 40)];
    for _ in 0..3 {
        let (name, peer) = choose(&mut upstream, 0).expect("a peer");
        let (_, time) = times.iter().find(|(of, _)| *of == name).expect("one");
        upstream.first_byte(peer, 0, Duration::from_millis(*time));
        upstream.closed(peer, 0, Duration::ZERO);
    }
    let mut open = std::collections::BTreeMap::<char, u32>::new();
    for _ in 0..70 {
        let (name, _) = choose(&mut upstream, 1).expect("a peer");
        *open.entry(name).or_default() += 1;
    }
    assert_eq!(open, [('a', 40), ('b', 20), ('c', 10)].into());
}

#[test]
fn a_slow_peer_gets_another_chance_when_its_time_is_old() {
    let mut upstream = upstream(
        r#"balance = "least-time"
           peers = ["tcp://10.0.0.1:1", "tcp://10.0.0.1:2"]"#,
    );
    let mut connect = |now, slow| {
        let (name, peer) = choose(&mut upstream, now).expect("a peer");
        let took = Duration::from_millis(if name == 'a' { slow } else { 10 });
        upstream.connected(peer, now, took);
        upstream.closed(peer, now, Duration::ZERO);
        name
    };
    let early: String = (0..10).map(|now| connect(now, 1_000)).collect();
    assert_eq!(early, "abbbbbbbbb");
    let later: String = (1..20).map(|now| connect(now * 10_000, 10)).collect();
    assert!(later.contains('a'), "{later}");
    let equal: String = (200_000..200_100).map(|now| connect(now, 10)).collect();
    assert!(equal.matches('a').count() > 20, "{equal}");
}
