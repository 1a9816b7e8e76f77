//! Dialing names that the system resolves, with a name server of the test's own in a network of its own.

#[path = "resolve/name_server.rs"]
mod name_server;
mod namespace;

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::thread;
use std::time::Duration;

use moorline_net::dial::{Family, StepKind, Timeline};
use moorline_net::resolve::MAX_THREADS;
use moorline_net::{ConnectCause, DatagramClient, DialOptions, Dialer, ResolveError};

use name_server::{AAAA, NameServer};
use tokio::task::JoinSet;

/// Where every name of the server leads that has no other address.
const HERE: &str = "192.0.2.9";
const HERE_TOO: &str = "2001:db8::9";
const PORT: u16 = 9501;

/// A name server, and a server at the addresses of its names.
struct Machine {
    server: NameServer,
    _peer: UdpSocket,
}

impl Machine {
    fn start() -> Self {
        for address in [format!("{HERE}/32"), format!("{HERE_TOO}/128 nodad")] {
            namespace::run("ip", &format!("address add dev lo {address}"));
        }
        for host in [HERE, HERE_TOO, "::1"] {
            let listener = TcpListener::bind((host, PORT)).unwrap();
            thread::spawn(move || listener.incoming().for_each(drop));
        }
        Self {
            server: NameServer::start("127.0.0.1:53"),
            _peer: UdpSocket::bind((HERE, PORT)).unwrap(),
        }
    }

    fn add_ipv6_route(&self) {
        namespace::run("ip", "-6 route add default dev lo");
    }
}

fn dialer() -> Dialer {
    Dialer::new(DialOptions::default())
}

/// Each step's kind, target and outcome.
fn steps(timeline: &Timeline) -> Vec<(StepKind, String, String)> {
    let told = |step: &moorline_net::dial::Step| {
        (step.kind, step.target.to_string(), step.outcome.to_string())
    };
    timeline.steps().iter().map(told).collect()
}

fn dropped(name: &str) -> Vec<(StepKind, String, String)> {
    vec![
        (
            StepKind::Resolve,
            format!("{name} AAAA"),
            "cancelled".into(),
        ),
        (StepKind::Resolve, format!("{name} A"), "ok".into()),
        (StepKind::Connect, format!("{HERE}:{PORT}"), "ok".into()),
    ]
}

#[test]
fn a_server_that_drops_questions_for_ipv6_costs_the_resolution_delay() {
    namespace::alone(
        "a_server_that_drops_questions_for_ipv6_costs_the_resolution_delay",
        async || {
            let machine = Machine::start();
            machine.add_ipv6_route();
            let delay = DialOptions::default().resolution_delay;
            let is_brief = |took: Duration| took >= delay && took < delay + Duration::from_secs(2);

            let address = format!("tcp://lame.test:{PORT}").parse().unwrap();
            let connection = dialer().connect(&address).await.unwrap();
            assert_eq!(steps(connection.timeline()), dropped("lame.test"));
            let took = connection.timeline().total().unwrap();
            assert!(is_brief(took), "{took:?}");

            let address = format!("udp://lame-too.test:{PORT}").parse().unwrap();
            let client = DatagramClient::connect(&dialer(), &address).await.unwrap();
            assert_eq!(steps(client.timeline()), dropped("lame-too.test"));
            let took = client.timeline().total().unwrap();
            assert!(is_brief(took), "{took:?}");
            assert_eq!(machine.server.count_of(AAAA), 2);
        },
    );
}

#[test]
fn names_whose_ipv6_questions_are_dropped_never_exhaust_the_resolver() {
    namespace::alone(
        "names_whose_ipv6_questions_are_dropped_never_exhaust_the_resolver",
        async || {
            let machine = Machine::start();
            machine.add_ipv6_route();
            let dialer = dialer();
            // Each leaves a thread behind that waits for half a minute, until there is none left.
            for batch in 0..8 {
                let mut dials = JoinSet::new();
                for index in 0..50 {
                    let dialer = dialer.clone();
                    let address = format!("tcp://lame-{batch}-{index}.test:{PORT}");
                    dials.spawn(async move { dialer.connect(&address.parse().unwrap()).await });
                }
                while let Some(dialed) = dials.join_next().await {
                    dialed
                        .unwrap()
                        .unwrap_or_else(|error| panic!("{error}: {}", error.timeline()));
                }
            }
            assert!(machine.server.count_of(AAAA) > MAX_THREADS / 2);
        },
    );
}

#[test]
fn without_an_ipv6_route_no_server_is_asked_for_ipv6_addresses() {
    namespace::alone(
        "without_an_ipv6_route_no_server_is_asked_for_ipv6_addresses",
        async || {
            let machine = Machine::start();
            fs::write("/etc/hosts", "::1 six.test\n").unwrap();
            let address = format!("tcp://lame.test:{PORT}").parse().unwrap();
            let connection = dialer().connect(&address).await.unwrap();
            let why = "no server was asked for IPv6 addresses of `lame.test`: this machine has no IPv6 route";
            let mut expected = dropped("lame.test");
            expected[0].2 = why.to_owned();
            assert_eq!(steps(connection.timeline()), expected);

            // What the hosts file knows needs no server.
            let address = format!("tcp://six.test:{PORT}").parse().unwrap();
            let connection = dialer().connect(&address).await.unwrap();
            assert_eq!(
                connection.peer(),
                Some(format!("[::1]:{PORT}").parse().unwrap())
            );

            let address = format!("tcp://gone.test:{PORT}").parse().unwrap();
            let error = dialer().connect(&address).await.unwrap_err();
            assert!(
                matches!(
                    error.cause(),
                    ConnectCause::Resolve(ResolveError::NotFound { .. })
                ),
                "{error}"
            );
            assert_eq!(machine.server.count_of(AAAA), 0);
        },
    );
}

/// Dials a name that has addresses of both families, and says to which it was connected.
async fn reached(family: Family) -> String {
    let options = DialOptions::default().family(family);
    let address = format!("tcp://dual.test:{PORT}").parse().unwrap();
    let connection = Dialer::new(options).connect(&address).await.unwrap();
    connection.peer().unwrap().ip().to_string()
}

#[test]
fn without_a_file_for_it_ipv6_is_tried_first() {
    namespace::alone("without_a_file_for_it_ipv6_is_tried_first", async || {
        Machine::start().add_ipv6_route();
        assert_eq!(reached(Family::Both).await, HERE_TOO);
        assert_eq!(reached(Family::PreferIpv4).await, HERE);
    });
}

#[test]
fn gai_conf_decides_which_family_is_tried_first() {
    namespace::alone("gai_conf_decides_which_family_is_tried_first", async || {
        fs::write("/etc/gai.conf", "precedence ::ffff:0:0/96  100\n").unwrap();
        let machine = Machine::start();
        machine.add_ipv6_route();
        assert_eq!(reached(Family::Both).await, HERE);
        assert_eq!(reached(Family::PreferIpv6).await, HERE_TOO);
        // Where IPv4 comes first, nothing waits for an answer about IPv6.
        let options = DialOptions::default().resolution_delay(Duration::from_secs(60));
        let address = format!("tcp://lame.test:{PORT}").parse().unwrap();
        let dialed = Dialer::new(options).connect(&address).await;
        assert_eq!(steps(dialed.unwrap().timeline()), dropped("lame.test"));
    });
}
