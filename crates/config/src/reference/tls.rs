//! The keys of TLS.

use super::Default::Value;
use super::Reload::NewConnections;
use super::{SectionReference, key};

pub(super) const PREREAD: SectionReference = SectionReference {
    title: "`preread`",
    heading: "`preread`",
    about: "The first message of a TLS client (its ClientHello) is read before a peer is chosen. All of it goes on to the peer as it \
            came: TLS passes through. What is not TLS goes on as soon as that shows. A protocol in which the server speaks first \
            waits for `timeout`. A client that says more than `buffer`, or takes longer than `timeout`, is closed with status 400.",
    keys: &[
        key(
            "buffer",
            "size, at most 64 KiB",
            Value(r#""16KiB""#),
            r#""32KiB""#,
            NewConnections,
            "The most bytes of a hello, with its records.",
        ),
        key(
            "timeout",
            "duration",
            Value(r#""30s""#),
            r#""10s""#,
            NewConnections,
            "How long a hello may take to come whole.",
        ),
    ],
};
