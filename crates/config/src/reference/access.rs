//! The keys of access rules.

use super::Default::Words;
use super::Reload::NewConnections;
use super::{SectionReference, key};

pub(super) const ACCESS: SectionReference = SectionReference {
    title: "a rule of `access`",
    heading: "`access`",
    about: "An entry of the list, with one of these keys. The first rule that is of a client decides; a client without one may \
            connect. The client is that of the connection, or the one that a believed PROXY header names. A refused one is closed \
            before TLS, and before any peer is asked.",
    keys: &[
        key(
            "allow",
            "address, network, `\"unix:\"` or `\"all\"`",
            Words("none"),
            r#""10.0.0.0/8""#,
            NewConnections,
            "These clients may connect. `\"unix:\"`: those of a Unix socket. An IPv4 address within IPv6 counts as IPv4.",
        ),
        key(
            "deny",
            "address, network, `\"unix:\"` or `\"all\"`",
            Words("none"),
            r#""all""#,
            NewConnections,
            "These may not.",
        ),
    ],
};
