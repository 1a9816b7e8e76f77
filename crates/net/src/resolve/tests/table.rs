//! Tables before other resolvers.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

const HOSTS: &str = "\
# what every machine has
127.0.0.1   localhost
192.0.2.1   chat.test Chat-Old.TEST.   # both
2001:db8::1 chat.test
192.0.2.1   chat.test

198.51.100.7\tlocal-only.test
";

#[tokio::test]
async fn a_hosts_file_is_a_table() {
    let table = StaticResolver::from_hosts(HOSTS).unwrap();
    let addresses = async |name| ask(&table, name).await.map(|answer| answer.addresses);
    let both = vec![ip("192.0.2.1"), ip("2001:db8::1")];
    assert_eq!(addresses("chat.test").await, Ok(both.clone()));
    assert_eq!(addresses("CHAT.test.").await, Ok(both));
    assert_eq!(addresses("chat-old.test").await, Ok(vec![ip("192.0.2.1")]));
    // The file overrules what RFC 6761 says.
    assert_eq!(addresses("localhost").await, Ok(vec![ip("127.0.0.1")]));
    assert_eq!(addresses("mail.test").await, Err(not_found("mail.test")));
}

#[tokio::test]
async fn only_names_that_are_not_in_the_table_go_on() {
    let mut next = StaticResolver::new();
    next.insert("mail.test", ip("203.0.113.9")).unwrap();
    next.insert("local-only.test", ip("2001:db8::9")).unwrap();
    let table = StaticResolver::from_hosts(HOSTS)
        .unwrap()
        .or_else(Arc::new(next));
    let mail = ask(&table, "mail.test").await.unwrap();
    assert_eq!(mail.addresses, [ip("203.0.113.9")]);
    let Lookups::Together(ipv6) = table.look_up("local-only.test", Families::Ipv6) else {
        panic!("a table answers at once");
    };
    assert_eq!(ipv6.await, Err(not_found("local-only.test")));
}

#[test]
fn a_line_that_makes_no_sense_is_named() {
    for (text, line, problem) in [
        ("192.0.2.300 a.test", 1, "`192.0.2.300` is no IP address"),
        (
            "\n# none\n192.0.2.3 # a.test",
            3,
            "no name follows 192.0.2.3",
        ),
        (
            "192.0.2.3 a..b",
            1,
            "`a..b` is no name: there is nothing between two of its dots",
        ),
    ] {
        let error = StaticResolver::from_hosts(text).unwrap_err();
        assert_eq!((error.line, error.problem.as_str()), (line, problem));
    }
}

proptest! {
    /// Whatever stands in it, reading a hosts file or a name ends in a value.
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*", name in "(\\PC|[a-z.]){0,300}") {
        let _ = StaticResolver::from_hosts(&text);
        if let Ok(parsed) = Name::parse(&name) {
            prop_assert_eq!(&Name::parse(parsed.as_str()), &Ok(parsed.clone()));
            prop_assert!(parsed.relative().len() <= MAX_NAME_BYTES);
        }
    }
}
