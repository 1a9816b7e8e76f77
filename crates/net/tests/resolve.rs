//! Resolvers against a DNS server, and the system's own in a namespace where all files are ours.

#[path = "resolve/name_server.rs"]
mod name_server;
mod namespace;

use std::fs;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moorline_net::resolve::{
    Answer, CacheOptions, CachingResolver, Families, HickoryResolver, Lookups, ResolveError,
    Resolver, SystemResolver,
};
use tokio::task::JoinSet;
use tokio::time::timeout;

use name_server::NameServer;

/// Far more than any of it takes, even on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the resolver says for IPv6 and for IPv4.
async fn apart(
    resolver: &dyn Resolver,
    name: &str,
) -> (Result<Answer, ResolveError>, Result<Answer, ResolveError>) {
    match resolver.look_up(name, Families::Both) {
        Lookups::Apart { ipv6, ipv4 } => timeout(PATIENCE, async { tokio::join!(ipv6, ipv4) })
            .await
            .expect("it answers"),
        _ => panic!("DNS has an answer for each family"),
    }
}

/// What it says where one answer is expected.
async fn together(
    resolver: &dyn Resolver,
    name: &str,
    families: Families,
) -> Result<Vec<IpAddr>, ResolveError> {
    match resolver.look_up(name, families) {
        Lookups::Together(answer) => answer.await.map(|answer| answer.addresses),
        _ => panic!("one answer was expected"),
    }
}

fn answer(addresses: &[&str], ttl: u64) -> Result<Answer, ResolveError> {
    Ok(Answer::new(ips(addresses)).ttl(Some(Duration::from_secs(ttl))))
}

fn ips(addresses: &[&str]) -> Vec<IpAddr> {
    addresses.iter().map(|ip| ip.parse().unwrap()).collect()
}

fn not_found(name: &str, ttl: u64) -> Result<Answer, ResolveError> {
    Err(ResolveError::NotFound {
        name: name.into(),
        ttl: Some(Duration::from_secs(ttl)),
    })
}

#[tokio::test]
async fn dns_answers_each_family_with_its_ttl() {
    let server = NameServer::start("127.0.0.1:0");
    let resolver = HickoryResolver::with_servers(&[server.address]).unwrap();
    assert_eq!(
        apart(&resolver, "Both.test").await,
        (
            answer(&["2001:db8::1"], 33),
            answer(&["192.0.2.1", "192.0.2.2"], 77)
        )
    );
    // The family that there is not, and the shorter TTL of an alias.
    assert_eq!(
        apart(&resolver, "four.test.").await,
        (not_found("four.test.", 11), answer(&["192.0.2.4"], 60))
    );
    let (_, alias) = apart(&resolver, "alias.test").await;
    assert_eq!(alias, answer(&["192.0.2.4"], 5));
    assert_eq!(
        apart(&resolver, "gone.test").await,
        (not_found("gone.test", 11), not_found("gone.test", 11))
    );
    let (ipv6, ipv4) = apart(&resolver, "fails.test").await;
    for failed in [ipv6, ipv4] {
        assert!(
            matches!(failed, Err(ResolveError::Failed { .. })),
            "{failed:?}"
        );
    }
    let four = together(&resolver, "both.test", Families::Ipv4).await;
    assert_eq!(four, Ok(ips(&["192.0.2.1", "192.0.2.2"])));
    let localhost = together(&resolver, "localhost", Families::Both).await;
    assert_eq!(localhost, Ok(ips(&["::1", "127.0.0.1"])));
    assert_eq!(server.count("localhost"), 0);
}

#[test]
fn the_dns_resolver_outlives_the_runtimes_that_use_it() {
    let server = NameServer::start("127.0.0.1:0");
    let resolver = HickoryResolver::with_servers(&[server.address]).unwrap();
    for _ in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (_, ipv4) = runtime.block_on(apart(&resolver, "four.test"));
        assert_eq!(ipv4, answer(&["192.0.2.4"], 60));
    }
    assert!(HickoryResolver::with_servers(&[]).is_err());
}

#[tokio::test]
async fn a_hundred_names_whose_server_is_silent_delay_no_other() {
    let server = NameServer::start("127.0.0.1:0");
    let resolver = HickoryResolver::with_servers(&[server.address]).unwrap();
    let mut stuck = JoinSet::new();
    for index in 0..100 {
        let resolver = resolver.clone();
        stuck.spawn(async move { apart(&resolver, &format!("silent-{index}.test")).await });
    }
    while server.count("silent") < 100 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let since = Instant::now();
    for index in 0..20 {
        let (_, ipv4) = apart(&resolver, &format!("name-{index}.test")).await;
        assert_eq!(ipv4, answer(&["192.0.2.9"], 60));
    }
    // One that waited for a silent one would have waited for seconds.
    assert!(since.elapsed() < Duration::from_secs(2));
    assert!(stuck.try_join_next().is_none());
}

#[tokio::test]
async fn a_cache_before_dns_asks_once_for_each_family() {
    let server = NameServer::start("127.0.0.1:0");
    let dns = HickoryResolver::with_servers(&[server.address]).unwrap();
    let resolver = CachingResolver::new(Arc::new(dns), CacheOptions::default());
    for name in ["both.test", "BOTH.test", "both.test"] {
        let (ipv6, ipv4) = apart(&resolver, name).await;
        assert_eq!(ipv6.unwrap().addresses, ips(&["2001:db8::1"]));
        assert_eq!(ipv4.unwrap().addresses, ips(&["192.0.2.1", "192.0.2.2"]));
        let (ipv6, _) = apart(&resolver, "gone.test").await;
        assert!(matches!(ipv6, Err(ResolveError::NotFound { .. })));
    }
    assert_eq!((server.count("both"), server.count("gone")), (2, 2));
}

#[test]
fn a_black_holed_name_does_not_delay_others_by_the_systems_resolver() {
    namespace::alone(
        "a_black_holed_name_does_not_delay_others_by_the_systems_resolver",
        inside,
    );
}

#[expect(clippy::too_many_lines, reason = "one scenario, in order")]
async fn inside() {
    // A route, without which nobody is asked for IPv6 addresses.
    namespace::run("ip", "address add 2001:db8::9/128 dev lo nodad");
    namespace::run("ip", "-6 route add default dev lo");
    fs::write("/etc/hosts", "198.51.100.1 from-hosts.test\n").unwrap();
    let server = NameServer::start("127.0.0.1:53");

    let resolver = SystemResolver::new();
    let mut stuck = JoinSet::new();
    for index in 0..100 {
        // The same one, and others.
        for name in ["silent.test".to_owned(), format!("silent-{index}.test")] {
            let resolver = resolver.clone();
            stuck.spawn(async move { apart(&resolver, &name).await });
        }
    }
    while server.count("silent") < 2 * 101 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(resolver.threads(), 2 * 101);

    let since = Instant::now();
    let found = async |name, families| {
        timeout(PATIENCE, together(&resolver, name, families))
            .await
            .expect("it is not delayed")
    };
    let (ipv6, ipv4) = apart(&resolver, "both.test").await;
    assert_eq!(ipv6.unwrap().addresses, ips(&["2001:db8::1"]));
    let mut ipv4 = ipv4.unwrap().addresses;
    ipv4.sort();
    assert_eq!(ipv4, ips(&["192.0.2.1", "192.0.2.2"]));
    assert_eq!(
        found("four.test", Families::Ipv4).await,
        Ok(ips(&["192.0.2.4"]))
    );
    assert_eq!(
        found("from-hosts.test", Families::Ipv4).await,
        Ok(ips(&["198.51.100.1"]))
    );
    // No such name, one without such an address, and a server that fails are told apart.
    for (name, families) in [
        ("gone.test", Families::Ipv4),
        ("four.test", Families::Ipv6),
        ("from-hosts.test", Families::Ipv6),
    ] {
        let absent = found(name, families).await;
        assert!(
            matches!(absent, Err(ResolveError::NotFound { .. })),
            "{name}: {absent:?}"
        );
    }
    let failed = found("fails.test", Families::Ipv4).await;
    assert!(
        matches!(failed, Err(ResolveError::Failed { .. })),
        "{failed:?}"
    );
    assert!(since.elapsed() < Duration::from_secs(10));
    // The other resolver reads the same files.
    let dns = HickoryResolver::from_system().unwrap();
    let (_, four) = apart(&dns, "four.test").await;
    assert_eq!(four, answer(&["192.0.2.4"], 60));
    let (_, hosts) = apart(&dns, "from-hosts.test").await;
    assert_eq!(hosts.unwrap().addresses, ips(&["198.51.100.1"]));
    // One new thread for each family served all of these, one after the other.
    assert_eq!(resolver.threads(), 2 * 102);
    assert!(stuck.try_join_next().is_none());
}
