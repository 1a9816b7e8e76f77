//! Active checks, and slow starts.

use super::*;

const CHECKED: &str = r#"peers = ["tcp://10.0.0.1:1", "tcp://10.0.0.1:2"]
    check = { kind = "connect", interval = "1s", rise = 2, fall = 3, timeout = "500ms" }"#;

/// Runs all checks that are due until a time. `is_live`: whether a peer answers.
fn check_until(
    upstream: &mut Upstream,
    end: u64,
    is_live: impl Fn(char, u64) -> bool,
) -> Vec<(u64, char, Turn)> {
    let mut turns = Vec::new();
    while let Some(at) = upstream.next_check().filter(|at| *at <= end) {
        while let Some(probe) = upstream.due_check(at) {
            let name = name(&probe.address);
            let result = match is_live(name, at) {
                true => Ok(()),
                false => Err(Failure::TimedOut),
            };
            turns.extend(
                upstream
                    .checked(probe.peer, at, result)
                    .map(|turn| (at, name, turn)),
            );
        }
    }
    turns
}

#[test]
fn a_peer_that_fails_its_checks_gets_nothing_until_it_succeeds_again() {
    let mut upstream = upstream(CHECKED);
    let is_live = |name, at| name == 'b' || !(5_000..15_000).contains(&at);
    let turns = check_until(&mut upstream, 30_000, is_live);
    let [(fell, 'a', Turn::Unhealthy), (rose, 'a', Turn::Healthy)] = turns[..] else {
        panic!("{turns:?}");
    };
    // Three in a row, each up to 1.1 s after the one before, the first as much after its death.
    assert!((7_000..=8_300).contains(&fell), "{fell}");
    assert!((16_000..=17_200).contains(&rose), "{rose}");
}

#[test]
fn while_a_peer_is_unhealthy_no_connection_tries_it() {
    let mut upstream = upstream(CHECKED);
    check_until(&mut upstream, 5_000, |name, _| name == 'b');
    assert_eq!(chosen(&mut upstream, 4), "bbbb");
    check_until(&mut upstream, 10_000, |_, _| false);
    assert_eq!(choose(&mut upstream, 10_000), Err(NoPeer::NoneLive));
    check_until(&mut upstream, 20_000, |_, _| true);
    let both: String = (0..4)
        .map(|_| choose(&mut upstream, 20_000).expect("a peer").0)
        .collect();
    assert_eq!(both.matches('a').count(), 2, "{both}");
}

#[test]
fn first_checks_are_spread_and_a_running_one_is_not_begun_again() {
    let peers: Vec<_> = (1..=100)
        .map(|n| format!("\"tcp://10.0.0.1:{n}\""))
        .collect();
    let mut upstream = upstream(&format!(
        "peers = [{}]\ncheck = {{ kind = \"connect\", interval = \"1s\" }}",
        peers.join(", ")
    ));
    let mut due = Vec::new();
    for now in (0..=1_000).step_by(100) {
        let begun = std::iter::from_fn(|| upstream.due_check(now)).count();
        due.push(begun);
    }
    assert_eq!(due.iter().sum::<usize>(), 100);
    assert!(due.iter().all(|begun| *begun < 30), "{due:?}");
    assert_eq!(upstream.next_check(), None, "all are running");
}

#[test]
fn checks_that_could_not_be_made_judge_no_peer_and_are_planned_again() {
    let mut upstream = upstream(CHECKED);
    for _ in 0..10 {
        let at = upstream.next_check().expect("checks are planned");
        while let Some(probe) = upstream.due_check(at) {
            upstream.unchecked(probe.peer, at);
        }
    }
    assert_eq!(chosen(&mut upstream, 4), "abab");
    let turns = check_until(&mut upstream, 60_000, |_, _| false);
    assert_eq!(turns.len(), 2, "the next ones count: {turns:?}");
}

#[test]
fn a_peer_that_is_down_is_not_checked_and_one_that_drains_is() {
    let mut upstream = upstream(CHECKED);
    upstream.switch("10.0.0.1:1", Switch::Down, 0).expect("one");
    upstream
        .switch("10.0.0.1:2", Switch::Drain, 0)
        .expect("one");
    let checked = std::cell::RefCell::new(Vec::new());
    check_until(&mut upstream, 3_000, |name, _| {
        checked.borrow_mut().push(name);
        true
    });
    let checked = checked.into_inner();
    assert!(!checked.is_empty() && checked.iter().all(|name| *name == 'b'));
    assert_eq!(choose(&mut upstream, 3_000), Err(NoPeer::NoneLive));
}

#[test]
fn a_reload_without_checks_makes_every_peer_healthy() {
    let mut upstream = upstream(CHECKED);
    check_until(&mut upstream, 5_000, |_, _| false);
    let peers = CHECKED.lines().next().expect("the first");
    upstream.replace(config(peers), 5_000).expect("few peers");
    assert_eq!(upstream.next_check(), None);
    assert_eq!(chosen(&mut upstream, 2), "ab");
}

#[test]
fn a_peer_that_comes_back_gets_its_share_little_by_little() {
    for balance in ["round-robin", "least-connections"] {
        let mut upstream = upstream(&format!(
            r#"balance = "{balance}"
               peers = ["tcp://10.0.0.1:1", "tcp://10.0.0.1:2"]
               slow_start = "10s""#
        ));
        upstream.switch("10.0.0.1:1", Switch::Down, 0).expect("one");
        upstream
            .switch("10.0.0.1:1", Switch::Up, 50_000)
            .expect("one");
        let mut share = |now| {
            let mut open = Vec::new();
            for _ in 0..100 {
                open.push(choose(&mut upstream, now).expect("a peer"));
            }
            for (_, peer) in &open {
                upstream.closed(*peer, now, Duration::ZERO);
            }
            open.iter().filter(|(name, _)| *name == 'a').count()
        };
        assert!(share(50_000) <= 1, "{balance}: at first");
        // With a third of its weight it gets a quarter.
        assert!((23..=27).contains(&share(53_333)), "{balance}: later");
        assert_eq!(share(60_000), 50, "{balance}: at the end");
    }
}

#[test]
fn a_check_that_expects_an_answer_waits_for_it_and_for_no_more() {
    let mut upstream = upstream(
        r#"peers = ["tcp://10.0.0.1:1"]
           check = { kind = "expect", send = "PING\r\n", expect = "+PONG" }"#,
    );
    while upstream.next_check() == Some(0) {
        assert_eq!(upstream.due_check(0), None, "it is planned");
    }
    let at = upstream.next_check().expect("it is checked");
    let probe = upstream.due_check(at).expect("it is due");
    let exchange = probe.exchange.expect("it expects something");
    assert_eq!(exchange.send, b"PING\r\n");
    let unexpected = Some(Err(Failure::Unexpected));

    let mut answer = Answer::new(&exchange);
    assert_eq!(answer.end(), Failure::Closed);
    for piece in ["-LOADING\r\n", "", "+P", "ON"] {
        assert_eq!(answer.add(piece.as_bytes()), None);
    }
    assert_eq!(answer.end(), Failure::Unexpected);
    assert_eq!(answer.add(b"G and more"), Some(Ok(())));

    let long = b"x".repeat(16 << 10);
    assert_eq!(Answer::new(&exchange).add(&long), unexpected);
    let mut answer = Answer::new(&exchange);
    assert_eq!(answer.add(&long[1..]), None);
    assert_eq!(
        answer.add(b"+PONG"),
        unexpected,
        "its begin is the last byte"
    );
}
