//! The choices of nginx 1.22.1 with one worker, recorded: `nginx.txt` has an upstream for each part, then what happened.
//!
//! - `open KEY PEER`: a connection with this key, and the peer that it reached in the end
//! - `close N`: the end of the connection that is the Nth of the open ones
//! - `down PEER`, `up PEER`: from here the peer refuses connections, or takes them again
//! - `wait MS`: nothing happens for this time

use std::collections::HashSet;

use super::*;

const RECORDED: &str = include_str!("nginx.txt");

#[test]
fn every_choice_is_that_of_nginx() {
    let parts: Vec<_> = RECORDED.split("\n\n").filter(|it| !it.is_empty()).collect();
    assert_eq!(parts.len(), 8);
    for part in parts {
        let (title, rest) = part.trim().split_once('\n').expect("a title");
        let (config, events) = rest.split_once("\n---\n").expect("a configuration");
        replay(title, upstream(config), events);
    }
}

fn replay(title: &str, mut upstream: Upstream, events: &str) {
    let (mut open, mut dead, mut now) = (Vec::new(), HashSet::new(), 1_000_000);
    for (line, event) in events.lines().enumerate() {
        let words: Vec<_> = event.split(' ').collect();
        match words[..] {
            ["open", key, expected] => {
                now += 1;
                let (got, peer) = reach(&mut upstream, now, key, &dead);
                assert_eq!(got, letter(expected), "{title}: {event} ({line})");
                open.push(peer);
            }
            ["close", at] => {
                now += 10;
                let peer = open.remove(at.parse().expect("a number"));
                upstream.closed(peer, now, Duration::from_millis(1));
            }
            ["down", peer] => {
                now += 50;
                dead.insert(letter(peer));
            }
            ["up", peer] => {
                dead.remove(&letter(peer));
            }
            ["wait", time] => now += time.parse::<u64>().expect("a number"),
            _ => panic!("{title}: {event}"),
        }
    }
}

/// The first peer that takes the connection.
fn reach(upstream: &mut Upstream, now: u64, key: &str, dead: &HashSet<char>) -> (char, PeerKey) {
    let mut attempts = Attempts::new(now);
    loop {
        let choice = upstream.choose(now, key.as_bytes(), &mut attempts);
        let choice = choice.expect("a peer lives");
        let name = name(&choice.address);
        if !dead.contains(&name) {
            upstream.connected(choice.peer, now, Duration::ZERO);
            return (name, choice.peer);
        }
        upstream.failed(choice.peer, now, Failure::System(111), Duration::ZERO);
    }
}

fn letter(word: &str) -> char {
    word.chars().next().expect("a letter")
}
