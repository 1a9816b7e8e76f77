//! Shares of many connections, and keys that keep their peers.

use std::collections::BTreeMap;

use super::*;

const CONNECTIONS: usize = 100_000;

/// Peers a to e with weights 1, 2, 3, 4 and 10.
fn weighted(balance: &str) -> Upstream {
    let peers = [('a', 1), ('b', 2), ('c', 3), ('d', 4), ('e', 10)];
    let peers = peers.map(|(name, weight)| {
        let port = u32::from(name) - u32::from('a') + 1;
        format!("{{ address = \"tcp://10.0.0.{port}:{port}\", weight = {weight} }}")
    });
    upstream(&format!(
        "balance = {balance}\npeers = [{}]",
        peers.join(", ")
    ))
}

/// The connections of each peer. `open`: how many are open at once; the oldest ends when the next one comes.
fn shares(mut upstream: Upstream, open: usize) -> BTreeMap<char, usize> {
    let mut rng = fastrand::Rng::with_seed(5);
    let (mut shares, mut opened) = (BTreeMap::new(), std::collections::VecDeque::new());
    for now in 0..CONNECTIONS as u64 {
        let key = rng.u64(..).to_string();
        let mut attempts = Attempts::new(now);
        let choice = upstream.choose(now, key.as_bytes(), &mut attempts);
        let choice = choice.expect("a peer");
        upstream.connected(choice.peer, now, Duration::from_millis(2));
        *shares.entry(name(&choice.address)).or_default() += 1;
        opened.push_back(choice.peer);
        if opened.len() > open {
            let peer = opened.pop_front().expect("it is the oldest");
            upstream.closed(peer, now, Duration::from_millis(20));
        }
    }
    shares
}

/// Each share is that of the weight, within this part of all connections.
fn assert_fair(shares: &BTreeMap<char, usize>, part: f64) {
    for (name, weight) in [('a', 1), ('b', 2), ('c', 3), ('d', 4), ('e', 10)] {
        let share = shares.get(&name).copied().unwrap_or(0) as f64 / CONNECTIONS as f64;
        let expected = f64::from(weight) / 20.0;
        assert!((share - expected).abs() <= part, "{name}: {share}");
    }
}

#[test]
fn shares_are_those_of_the_weights_within_one_part_in_a_hundred() {
    assert_fair(&shares(weighted("\"round-robin\""), 50), 0.0001);
    for balance in [
        "\"least-connections\"",
        "\"least-time\"",
        "{ kind = \"hash\", key = \"${client.address}\", method = \"plain\" }",
        "{ kind = \"hash\", key = \"${client.address}\", method = \"maglev\" }",
    ] {
        assert_fair(&shares(weighted(balance), 400), 0.01);
    }
}

#[test]
fn of_two_random_peers_the_less_loaded_one_is_chosen() {
    for balance in [
        "\"random-two\"",
        "{ kind = \"random-two\", by = \"connect\" }",
    ] {
        assert_fair(&shares(weighted(balance), 400), 0.01);
    }
}

/// The peer of each of many keys.
fn keyed(upstream: &mut Upstream) -> Vec<char> {
    let mut one = |key: usize| {
        let mut attempts = Attempts::new(0);
        let choice = upstream.choose(0, key.to_string().as_bytes(), &mut attempts);
        let choice = choice.expect("a peer");
        upstream.abandoned(choice.peer);
        name(&choice.address)
    };
    (0..20_000).map(&mut one).collect()
}

fn ten(method: &str, without: Option<usize>) -> String {
    let peers = (1..=10).filter(|peer| Some(*peer) != without);
    let peers: Vec<_> = peers
        .map(|peer| format!("\"tcp://10.0.0.{peer}:{peer}\""))
        .collect();
    format!(
        "balance = {{ kind = \"hash\", key = \"${{client.address}}\", method = \"{method}\" }}\npeers = [{}]",
        peers.join(", ")
    )
}

#[test]
fn a_peer_that_leaves_moves_its_own_keys_and_few_others() {
    for (method, most_others) in [("ketama", 0), ("maglev", 100)] {
        let before = keyed(&mut upstream(&ten(method, None)));
        for gone in 1..=10 {
            let mut reloaded = upstream(&ten(method, None));
            reloaded
                .replace(config(&ten(method, Some(gone))), 1)
                .expect("few peers");
            let after = keyed(&mut reloaded);
            let its = letter(gone);
            let moved = before.iter().zip(&after).filter(|(a, b)| a != b);
            let (own, others): (Vec<_>, Vec<_>) = moved.partition(|(a, _)| **a == its);
            assert!(others.len() <= most_others, "{method}: {}", others.len());
            assert!(!after.contains(&its));
            // One of ten has two thousand keys; 1.2 times as many may move.
            let total = own.len() + others.len();
            assert!(total <= 2_400, "{method}, {its}: {total} moved");
        }
    }
}

#[test]
fn a_peer_that_is_down_moves_only_its_own_keys_and_gets_them_back() {
    for method in ["ketama", "maglev", "plain"] {
        let mut upstream = upstream(&ten(method, None));
        let before = keyed(&mut upstream);
        upstream
            .switch("10.0.0.4:4", Switch::Down, 0)
            .expect("it is one");
        let during = keyed(&mut upstream);
        for (before, during) in before.iter().zip(&during) {
            assert_ne!(*during, 'd');
            assert!(before == during || *before == 'd', "{method}");
        }
        upstream
            .switch("10.0.0.4:4", Switch::Up, 0)
            .expect("it is one");
        assert_eq!(keyed(&mut upstream), before, "{method}");
    }
}

#[test]
fn an_empty_key_gets_each_peer_in_turn() {
    for method in ["ketama", "maglev", "plain"] {
        let mut upstream = upstream(&ten(method, None));
        assert_eq!(chosen(&mut upstream, 12), "abcdefghijab", "{method}");
    }
}

fn letter(number: usize) -> char {
    ('a'..='j').nth(number - 1).expect("ten letters")
}
