//! The keys of TLS.

use super::Default::{Value, Words};
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

pub(super) const PEER_TLS: SectionReference = SectionReference {
    title: "`tls` of an upstream",
    heading: "`tls` of an upstream",
    about: "TLS towards peers. A handshake counts as a part of the attempt to connect: it must end within `connect_timeout`, and if it \
            fails, the next peer is asked. The log says why, once a second. Certificates of X.509 version 1, which `openssl req -x509` \
            of Debian 12 makes, are accepted where `ca` has them or their issuer, or nothing is verified. A common name counts where a \
            certificate lists no names.",
    keys: &[
        key(
            "verify",
            "flag",
            Value("true"),
            "false",
            NewConnections,
            "The peer's certificate is verified: its issuers, its dates, and its name. Without that any machine can pose as the peer.",
        ),
        key(
            "ca",
            "path of a PEM file",
            Words("the system's roots"),
            r#""cert.pem""#,
            NewConnections,
            "The issuers that are trusted, or the certificates of the peers themselves.",
        ),
        key(
            "crl",
            "path of a PEM file",
            Words("none"),
            r#""crl.pem""#,
            NewConnections,
            "Lists of revoked certificates. They must tell of each certificate of a chain.",
        ),
        key(
            "server_name",
            "text with variables",
            Words("the host of the peer's address"),
            r#""db.example""#,
            NewConnections,
            "The host that the peer is sent (SNI) and verified by. Checks take the host of the peer's address where this has variables.",
        ),
        key(
            "send_server_name",
            "flag",
            Value("true"),
            "false",
            NewConnections,
            "The peer is sent the host's name (SNI). An IP address is never sent.",
        ),
        key(
            "certificate",
            "path of a PEM file",
            Words("none"),
            r#""cert.pem""#,
            NewConnections,
            "The certificate that a peer gets if it asks for one, and those of its issuers. Needs `key`.",
        ),
        key(
            "key",
            "path of a PEM file",
            Words("none"),
            r#""key.pem""#,
            NewConnections,
            "Its private key.",
        ),
        key(
            "alpn",
            "list of names",
            Words("none"),
            r#"["h2"]"#,
            NewConnections,
            "The protocols that peers are offered, the best one first (ALPN).",
        ),
        key(
            "versions",
            "list of `\"1.2\"` and `\"1.3\"`",
            Value(r#"["1.2", "1.3"]"#),
            r#"["1.3"]"#,
            NewConnections,
            "The versions of TLS that peers are offered.",
        ),
        key(
            "reuse",
            "flag",
            Value("true"),
            "false",
            NewConnections,
            "Sessions are kept for each peer, so that later handshakes are resumed.",
        ),
    ],
};
