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
