//! Errors tell kinds of failure apart.

use rustix::io::Errno;

use super::*;

#[test]
fn each_error_of_the_system_has_its_kind_and_keeps_its_code() {
    for (errno, kind) in [
        (Errno::CONNREFUSED, "Refused"),
        (Errno::CONNRESET, "Reset"),
        (Errno::PIPE, "Reset"),
        (Errno::CONNABORTED, "Reset"),
        (Errno::NETUNREACH, "Unreachable"),
        (Errno::HOSTUNREACH, "Unreachable"),
        (Errno::TIMEDOUT, "TimedOut"),
        (Errno::ADDRNOTAVAIL, "Io"),
        (Errno::MFILE, "Io"),
    ] {
        let cause = ConnectCause::from(io::Error::from(errno));
        assert!(format!("{cause:?}").starts_with(kind), "{cause:?}");
        assert_eq!(cause.errno(), Some(errno.raw_os_error()));
    }
    let left = ConnectCause::from(io::Error::from(io::ErrorKind::UnexpectedEof));
    assert!(matches!(left, ConnectCause::EndOfFile));
}

#[test]
fn errors_of_the_peer_weigh_most_and_permanent_ones_least() {
    let not_found = ResolveError::NotFound {
        name: "a".into(),
        ttl: None,
    };
    let no_route = ResolveError::NoRoute { name: "a".into() };
    let lightest_first = [
        // A family that this system lacks says nothing of the other one's addresses.
        io::Error::from(Errno::AFNOSUPPORT).into(),
        ConnectCause::Resolve(no_route),
        ConnectCause::Resolve(not_found),
        ConnectCause::Resolve(ResolveError::Busy { threads: 1 }),
        io::Error::from(Errno::NETUNREACH).into(),
        io::Error::from(Errno::ADDRNOTAVAIL).into(),
        ConnectCause::Timeout,
        io::Error::from(Errno::CONNREFUSED).into(),
    ];
    assert!(lightest_first.is_sorted_by(|a, b| a.weight() < b.weight()));
}

#[test]
fn the_message_names_address_step_and_cause() {
    let error = ConnectError::new(
        "tcp://name.test:1".into(),
        Some(StepKind::Proxy),
        ConnectCause::Proxy("403 Forbidden".into()),
        Timeline::new(std::time::Instant::now()),
    );
    assert_eq!(
        error.to_string(),
        "cannot connect to tcp://name.test:1: proxy: the proxy: 403 Forbidden"
    );
}
