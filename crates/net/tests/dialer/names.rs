//! Dialing names: resolving and racing.

use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moorline_net::dial::{Family, StepKind};
use moorline_net::resolve::{Families, Lookups};
use moorline_net::{Address, ConnectCause, DialOptions, Dialer, ResolveError, Resolver};
use rustix::io::Errno;

use crate::support::{
    Full, Told, address, dialer, full, listener, not_found, refusal, refusing, steps, words,
};

fn told(told: Told) -> Dialer {
    dialer().with_resolver(Arc::new(told))
}

fn told_with(told: Told, options: DialOptions) -> Dialer {
    Dialer::new(options).with_resolver(Arc::new(told))
}

fn name(port: u16) -> Address {
    address(format!("tcp://name.test:{port}"))
}

#[tokio::test]
async fn a_name_is_resolved_and_then_connected_to() {
    let (_listener, at) = listener().await;
    let dialer = told(Told::Together(Ok(vec!["127.0.0.1"])));
    let connection = dialer.connect(&name(at.port())).await.unwrap();
    assert_eq!(connection.peer(), Some(at));
    assert_eq!(
        steps(connection.timeline().steps()),
        [
            (StepKind::Resolve, "name.test".to_owned(), "ok".to_owned()),
            (StepKind::Connect, at.to_string(), "ok".to_owned()),
        ]
    );
}

#[tokio::test]
async fn the_system_resolves_without_another_resolver() {
    let (_listener, at) = listener().await;
    let connection = dialer()
        .connect(&address(format!("tcp://localhost:{}", at.port())))
        .await;
    assert_eq!(connection.unwrap().peer(), Some(at));
}

#[derive(Debug)]
struct Unasked;

impl Resolver for Unasked {
    fn look_up(&self, name: &str, _families: Families) -> Lookups {
        panic!("{name} is an IP address");
    }
}

#[tokio::test]
async fn ip_addresses_never_reach_the_resolver() {
    let dialer = dialer().with_resolver(Arc::new(Unasked));
    let (_listener, at) = listener().await;
    dialer
        .connect(&address(format!("tcp://{at}")))
        .await
        .unwrap();
    let (error, _) = refusal(&dialer, &address("tcp://[fe80::1%nowhere]:1")).await;
    assert!(
        matches!(error.cause(), ConnectCause::NoInterface(_)),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_resolvers_error_differs_from_a_failed_connection() {
    let failed = ResolveError::Failed {
        name: "name.test".into(),
        reason: "SERVFAIL".into(),
    };
    let busy = ResolveError::Busy { threads: 256 };
    for error in [not_found(), failed.clone(), busy] {
        let (refusal, _) = refusal(&told(Told::Together(Err(error.clone()))), &name(1)).await;
        assert!(
            matches!(refusal.cause(), ConnectCause::Resolve(cause) if *cause == error),
            "{refusal:?}"
        );
        assert_eq!(refusal.step(), Some(StepKind::Resolve));
        assert_eq!(
            steps(refusal.timeline().steps()),
            [(StepKind::Resolve, "name.test".to_owned(), error.to_string())]
        );
    }
    // A server's failure says more than the other one's empty answer.
    let apart = Told::Apart((0, Err(failed)), (0, Err(not_found())));
    let (error, _) = refusal(&told(apart), &name(1)).await;
    assert!(
        matches!(
            error.cause(),
            ConnectCause::Resolve(ResolveError::Failed { .. })
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_empty_answer_is_a_name_not_found() {
    let (error, _) = refusal(&told(Told::Together(Ok(vec![]))), &name(1)).await;
    assert!(
        matches!(error.cause(), ConnectCause::Resolve(cause) if *cause == not_found()),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_resolver_that_never_answers_ends_with_the_deadline() {
    let options = DialOptions::default().deadline(Duration::from_millis(100));
    let (error, _) = refusal(&told_with(Told::Never, options), &name(1)).await;
    assert!(matches!(error.cause(), ConnectCause::Timeout), "{error:?}");
    assert_eq!(error.step(), Some(StepKind::Resolve));
    assert_eq!(
        steps(error.timeline().steps()),
        [(
            StepKind::Resolve,
            "name.test".to_owned(),
            "timed out".to_owned()
        )]
    );
}

#[tokio::test]
async fn if_all_addresses_fail_all_are_in_the_timeline() {
    let (_socket, at) = refusing();
    // Nothing listens on the other one either: the whole of 127.0.0.0/8 is this machine.
    let dialer = told(Told::Together(Ok(vec!["127.0.0.1", "127.0.0.2"])));
    let (error, _) = refusal(&dialer, &name(at.port())).await;
    assert!(
        matches!(error.cause(), ConnectCause::Refused(_)),
        "{error:?}"
    );
    let refused = words(Errno::CONNREFUSED);
    assert_eq!(
        steps(error.timeline().steps()),
        [
            (StepKind::Resolve, "name.test".to_owned(), "ok".to_owned()),
            (StepKind::Connect, at.to_string(), refused.clone()),
            (
                StepKind::Connect,
                format!("127.0.0.2:{}", at.port()),
                refused
            ),
        ]
    );
}

/// An IPv6 address that is dead beside a live IPv4 one with the same port.
async fn dead_beside_live() -> (Full, StdListener, u16) {
    loop {
        let dead = full("::1").await;
        let port = dead.address.port();
        // The port may be another's on IPv4.
        if let Ok(live) = StdListener::bind(("127.0.0.1", port)) {
            return (dead, live, port);
        }
    }
}

#[tokio::test]
async fn a_dead_ipv6_address_costs_no_more_than_the_attempt_delay() {
    let (_dead, _live, port) = dead_beside_live().await;
    let delay = Duration::from_millis(100);
    let options = DialOptions::default().attempt_delay(delay);
    for resolver in [
        Told::Together(Ok(vec!["127.0.0.1", "::1"])),
        Told::Apart((0, Ok(vec!["::1"])), (0, Ok(vec!["127.0.0.1"]))),
    ] {
        let connection = told_with(resolver, options.clone())
            .connect(&name(port))
            .await
            .unwrap();
        assert!(connection.peer().unwrap().is_ipv4());
        let attempts: Vec<_> = connection
            .timeline()
            .steps()
            .iter()
            .filter(|step| step.kind == StepKind::Connect)
            .collect();
        assert_eq!(
            steps(connection.timeline().steps())[connection.timeline().steps().len() - 2..],
            [
                (
                    StepKind::Connect,
                    format!("[::1]:{port}"),
                    "cancelled".to_owned()
                ),
                (
                    StepKind::Connect,
                    format!("127.0.0.1:{port}"),
                    "ok".to_owned()
                ),
            ]
        );
        let waited = attempts[1].start - attempts[0].start;
        assert!(waited >= delay && waited < delay * 5, "{waited:?}");
    }
}

#[tokio::test]
async fn a_silent_ipv6_look_up_costs_no_more_than_the_resolution_delay() {
    let (_listener, at) = listener().await;
    let never = 3_600_000;
    let resolver = Told::Apart((never, Ok(vec![])), (0, Ok(vec!["127.0.0.1"])));
    let started = Instant::now();
    let connection = told(resolver).connect(&name(at.port())).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(50));
    assert_eq!(
        steps(connection.timeline().steps()),
        [
            (
                StepKind::Resolve,
                "name.test AAAA".to_owned(),
                "cancelled".to_owned()
            ),
            (StepKind::Resolve, "name.test A".to_owned(), "ok".to_owned()),
            (StepKind::Connect, at.to_string(), "ok".to_owned()),
        ]
    );
}

#[tokio::test]
async fn families_are_preferred_and_excluded() {
    let both = Told::Together(Ok(vec!["::1", "127.0.0.1"]));
    // The same port in both families: another process may have it in one, then the next one is tried.
    let (port, _listeners) = (0..100)
        .find_map(|_| {
            let v6 = StdListener::bind("[::1]:0").unwrap();
            let port = v6.local_addr().unwrap().port();
            let v4 = StdListener::bind(("127.0.0.1", port)).ok()?;
            Some((port, [v6, v4]))
        })
        .expect("a port is free in both families");
    for (family, is_ipv6) in [
        (Family::PreferIpv6, true),
        (Family::PreferIpv4, false),
        (Family::Ipv6, true),
        (Family::Ipv4, false),
    ] {
        let options = DialOptions::default().family(family);
        let connection = told_with(both.clone(), options)
            .connect(&name(port))
            .await
            .unwrap();
        assert_eq!(connection.peer().unwrap().is_ipv6(), is_ipv6, "{family:?}");
    }
    let bound = DialOptions::default().bind(Some("127.0.0.1:0".parse().unwrap()));
    let connection = told_with(both.clone(), bound.clone())
        .connect(&name(port))
        .await
        .unwrap();
    assert!(connection.peer().unwrap().is_ipv4());

    let contradiction = bound.family(Family::Ipv6);
    for target in [name(port), address(format!("tcp://127.0.0.1:{port}"))] {
        let (error, _) = refusal(&told_with(both.clone(), contradiction.clone()), &target).await;
        assert!(
            matches!(error.cause(), ConnectCause::Invalid(_)),
            "{error:?}"
        );
    }
}
