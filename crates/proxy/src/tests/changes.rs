//! Names that are resolved, reloads, commands, and what people see.

use std::net::IpAddr;

use super::*;
use moorline_config::{NameId, Template, Variable};
use moorline_net::HostPort;

const NAMED: &str = r#"peers = ["tcp://db.example:2", "tcp://10.0.0.1:1"]"#;

fn db() -> HostPort {
    HostPort {
        host: "db.example".to_owned(),
        port: 2,
    }
}

fn ips(last: &[u8]) -> Vec<IpAddr> {
    let ip = |last: &u8| IpAddr::from([10, 0, 1, *last]);
    last.iter().map(ip).collect()
}

/// Each peer's address, its state, and its open connections.
fn seen(upstream: &Upstream) -> Vec<(String, State, u32)> {
    let peers = upstream.snapshot(0).peers.into_iter();
    peers
        .map(|peer| (peer.address, peer.state, peer.open))
        .collect()
}

fn up(addresses: &[&str]) -> Vec<(String, State, u32)> {
    let one = |address: &&str| ((*address).to_owned(), State::Up, 0);
    addresses.iter().map(one).collect()
}

#[test]
fn a_name_that_is_not_resolved_prevents_nothing() {
    let mut upstream = upstream(NAMED);
    assert_eq!(upstream.names().collect::<Vec<_>>(), [&db()]);
    assert_eq!(chosen(&mut upstream, 2), "aa");
    upstream.unresolved(&db(), "no such host");
    assert_eq!(
        upstream.snapshot(0).unresolved,
        [("db.example:2".to_owned(), "no such host".to_owned())]
    );
    upstream.resolved(&db(), &ips(&[2, 1, 2]), 0).expect("few");
    assert_eq!(
        seen(&upstream),
        up(&["10.0.1.1:2", "10.0.1.2:2", "10.0.0.1:1"])
    );
    assert_eq!(upstream.snapshot(0).unresolved, []);
    let of = upstream.snapshot(0).peers[0].entry.clone();
    assert_eq!(of.as_deref(), Some("db.example:2"));
}

#[test]
fn without_any_address_there_is_no_peer() {
    let mut upstream = upstream(r#"peers = ["tcp://db.example:2"]"#);
    assert_eq!(choose(&mut upstream, 0), Err(NoPeer::Unresolved));
}

#[test]
fn an_address_that_leaves_its_name_keeps_its_connections_and_gets_no_more() {
    let mut upstream = upstream(r#"peers = ["tcp://db.example:2"]"#);
    upstream.resolved(&db(), &ips(&[1, 2]), 0).expect("few");
    let (_, first) = choose(&mut upstream, 0).expect("a peer");
    upstream.resolved(&db(), &ips(&[2]), 0).expect("few");
    let gone = ("10.0.1.1:2".to_owned(), State::Gone, 1);
    assert_eq!(seen(&upstream)[1], gone);
    assert_eq!(choose(&mut upstream, 0).expect("a peer").0, 'b');
    upstream.closed(first, 0, Duration::ZERO);
    assert_eq!(seen(&upstream).len(), 1);
    // Its key means nothing any more.
    upstream.closed(first, 0, Duration::ZERO);
    assert_eq!(seen(&upstream).len(), 1);
}

#[test]
fn an_address_that_comes_back_in_time_goes_on_with_its_counts() {
    let mut upstream = upstream(r#"peers = ["tcp://db.example:2"]"#);
    upstream.resolved(&db(), &ips(&[1, 2]), 0).expect("few");
    let (_, first) = choose(&mut upstream, 0).expect("a peer");
    upstream.resolved(&db(), &ips(&[2]), 0).expect("few");
    upstream.resolved(&db(), &ips(&[1, 2]), 0).expect("few");
    let first_seen = ("10.0.1.1:2".to_owned(), State::Up, 1);
    assert_eq!(seen(&upstream)[0], first_seen);
    upstream.closed(first, 0, Duration::ZERO);
    assert_eq!(seen(&upstream), up(&["10.0.1.1:2", "10.0.1.2:2"]));
}

#[test]
fn failed_and_empty_lookups_keep_what_was_known_also_over_a_reload() {
    let mut upstream = upstream(NAMED);
    upstream.resolved(&db(), &ips(&[1]), 0).expect("few");
    upstream.resolved(&db(), &[], 0).expect("few");
    upstream.unresolved(&db(), "timed out");
    let heavier = NAMED.replace("\"tcp://10.0.0.1:1\"", "\"tcp://10.0.0.1:3\"");
    upstream.replace(config(&heavier), 0).expect("few");
    assert_eq!(seen(&upstream), up(&["10.0.1.1:2", "10.0.0.1:3"]));
}

#[test]
fn the_same_answer_again_changes_no_turn() {
    let mut upstream = upstream(r#"peers = ["tcp://db.example:2"]"#);
    let mut got = Vec::new();
    for _ in 0..4 {
        upstream.resolved(&db(), &ips(&[2, 1]), 0).expect("few");
        let choice = upstream.choose(0, b"", &mut Attempts::new(0));
        got.push(choice.expect("a peer").address.to_string());
    }
    let (first, second) = ("tcp://10.0.1.1:2", "tcp://10.0.1.2:2");
    assert_eq!(got, [first, second, first, second]);
}

#[test]
fn too_many_addresses_are_left_out_and_counted() {
    let mut upstream = upstream(NAMED);
    let many: Vec<_> = (0..2000_u32)
        .map(|n| IpAddr::from(std::net::Ipv4Addr::from_bits(0x0a01_0000 + n)))
        .collect();
    let left_out = upstream.resolved(&db(), &many, 0);
    assert_eq!(left_out, Err(Unplaced(2001 - 1024)));
    assert_eq!(upstream.snapshot(0).peers.len(), 1024);
}

#[test]
fn an_answer_for_a_name_that_a_reload_has_removed_is_ignored() {
    let mut upstream = upstream(NAMED);
    let other = r#"peers = ["tcp://10.0.0.1:1"]"#;
    upstream.replace(config(other), 0).expect("few");
    upstream.resolved(&db(), &ips(&[1]), 0).expect("few");
    assert_eq!(seen(&upstream), up(&["10.0.0.1:1"]));
}

#[test]
fn health_and_open_connections_survive_a_reload() {
    let before = r#"peers = ["tcp://10.0.0.1:1", "tcp://10.0.0.1:2", "tcp://10.0.0.1:3"]"#;
    let after = r#"peers = ["tcp://10.0.0.1:3", { address = "tcp://10.0.0.1:1", weight = 3 }]
        balance = "least-connections""#;
    let mut upstream = upstream(before);
    let (_, a) = choose(&mut upstream, 0).expect("a peer");
    upstream.failed(a, 0, Failure::System(111), Duration::ZERO);
    let (_, b) = choose(&mut upstream, 0).expect("a peer");
    upstream.replace(config(after), 1).expect("few");
    let expected = [
        ("10.0.0.1:3".to_owned(), State::Up, 0),
        ("10.0.0.1:1".to_owned(), State::Out, 0),
        ("10.0.0.1:2".to_owned(), State::Gone, 1),
    ];
    assert_eq!(seen(&upstream), expected);
    let last = upstream.snapshot(1).peers[1].last_failure.clone();
    let (words, ago) = last.expect("it has failed");
    assert!(words.starts_with("Connection refused"), "{words}");
    assert_eq!(ago, Duration::from_millis(1));
    upstream.closed(b, 1, Duration::ZERO);
    assert_eq!(seen(&upstream).len(), 2);
}

#[test]
fn attempts_go_on_over_a_reload() {
    let before = r#"peers = ["tcp://10.0.0.1:1", "tcp://10.0.0.1:2"]"#;
    let mut upstream = upstream(before);
    let mut attempts = Attempts::new(0);
    let (_, peer) = again(&mut upstream, 0, &mut attempts).expect("a peer");
    upstream
        .replace(
            config(r#"peers = ["tcp://10.0.0.1:3", "tcp://10.0.0.1:4"]"#),
            0,
        )
        .expect("few");
    upstream.failed(peer, 0, Failure::TimedOut, Duration::ZERO);
    let (name, _) = again(&mut upstream, 0, &mut attempts).expect("a peer");
    assert_eq!(name, 'c');
}

#[test]
fn a_command_switches_peers_by_address_or_by_entry_and_holds_over_reloads() {
    let mut upstream = upstream(NAMED);
    upstream.resolved(&db(), &ips(&[1, 2]), 0).expect("few");
    assert_eq!(upstream.switch("db.example:2", Switch::Drain, 0), Ok(2));
    assert_eq!(upstream.switch("tcp://10.0.1.2:2", Switch::Down, 0), Ok(1));
    let states = |upstream: &Upstream| {
        let peers = seen(upstream).into_iter();
        peers.map(|(_, state, _)| state).collect::<Vec<_>>()
    };
    let expected = [State::Draining, State::Down, State::Up];
    assert_eq!(states(&upstream), expected);
    let reloaded = format!("{NAMED}\nconnect_timeout = \"1s\"");
    upstream.replace(config(&reloaded), 0).expect("few");
    assert_eq!(states(&upstream), expected);
    assert_eq!(upstream.switch("10.0.1.2:2", Switch::Up, 0), Ok(1));
    assert_eq!(states(&upstream)[1], State::Up);

    let unknown = upstream.switch("10.9.9.9:2", Switch::Up, 0).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "there is no such peer; known: 10.0.0.1:1, 10.0.1.1:2, 10.0.1.2:2, db.example:2"
    );
}

#[test]
fn a_command_puts_a_peer_up_that_the_file_has_down() {
    let mut upstream =
        upstream(r#"peers = ["tcp://10.0.0.1:1", { address = "tcp://10.0.0.1:2", down = true }]"#);
    assert_eq!(chosen(&mut upstream, 2), "aa");
    upstream.switch("10.0.0.1:2", Switch::Up, 0).expect("one");
    assert_eq!(chosen(&mut upstream, 4).matches('b').count(), 2);
}

#[test]
fn a_weight_holds_until_the_file_has_another() {
    let peers = |weight| {
        format!(
            "peers = [{{ address = \"tcp://10.0.0.1:1\", weight = {weight} }}, \"tcp://10.0.0.1:2\"]"
        )
    };
    let mut upstream = upstream(&peers(1));
    upstream.weigh("10.0.0.1:1", 3).expect("one");
    assert_eq!(chosen(&mut upstream, 4), "aaba");
    let same = format!("{}\nconnect_timeout = \"1s\"", peers(1));
    upstream.replace(config(&same), 0).expect("few");
    assert_eq!(upstream.snapshot(0).peers[0].weight, 3);
    upstream.replace(config(&peers(2)), 0).expect("few");
    assert_eq!(upstream.snapshot(0).peers[0].weight, 2);
}

#[test]
fn a_key_has_what_the_connection_knows() {
    let config = config(
        r#"peers = ["tcp://10.0.0.1:1"]
           balance = { kind = "hash", key = "$$${client.address}:${client.port} ${listener}/" }"#,
    );
    let moorline_config::Balance::Hash { key, .. } = config.balance else {
        panic!("it is a hash");
    };
    #[derive(Default)]
    struct Known(Maps);
    impl Facts for Known {
        fn write(&self, variable: Variable, text: &mut Text) {
            match variable {
                Variable::ClientAddress => text.push(b"192.0.2.1"),
                Variable::Listener => text.push(b"front"),
                _ => {}
            }
        }

        fn maps(&self) -> &Maps {
            &self.0
        }

        fn set(&self, _: NameId) -> Option<&Template> {
            None
        }
    }
    let mut text = Text::default();
    text.fill(&key, &Known::default());
    assert_eq!(text.as_bytes(), b"$192.0.2.1: front/");
}

#[test]
fn a_filled_text_has_a_bound() {
    let mut text = Text::default();
    text.push(&[b'a'; MOST_FILLED - 1]);
    text.push(b"bcd");
    text.push(b"e");
    assert_eq!(text.as_bytes().len(), MOST_FILLED);
    assert!(text.as_bytes().ends_with(b"ab"));
}
