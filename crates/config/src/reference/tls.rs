//! The keys of TLS.

use super::Default::{Required, Value, Words};
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
            "Lists of revoked certificates. They must tell of each certificate of a chain, and must not have expired.",
        ),
        key(
            "verify_depth",
            "number",
            Words("6"),
            "1",
            NewConnections,
            "0 to 100: the most certificates between the peer's and a root, as in OpenSSL. No chain has more than 6.",
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
            "path of a PEM file, a text with variables",
            Words("none"),
            r#""cert.pem""#,
            NewConnections,
            "The certificate that a peer gets if it asks for one, and those of its issuers. Needs `key`. With variables the gateway \
             reads the files when a connection first needs them, and again after 10 s; it keeps up to 256. An empty text: no \
             certificate. What a connection chooses, also through a map, has no slash in it and leads to no other folder; a text \
             that a map has may be any path. Files that cannot be used end the connection with status 500, and the log says why; \
             if they could be used before, that certificate is shown for up to a minute more. Checks show none.",
        ),
        key(
            "key",
            "path of a PEM file, a text with variables",
            Words("none"),
            r#""key.pem""#,
            NewConnections,
            "Its private key.",
        ),
        key(
            "password_file",
            "path",
            Words("none"),
            r#""passwords""#,
            NewConnections,
            "The passwords of an encrypted `key`, as in [`tls`](#tls) of a listener.",
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

pub(super) const TLS: SectionReference = SectionReference {
    title: "`tls`",
    heading: "`tls`",
    about: "Encrypts a listener: with it `tcp://` means `tls://`, and `http://` means `https://`. The supervisor reads the files, \
            so the gateway's user needs no right to read them. `reload` reads them again and closes no session. It refuses an \
            expired certificate, a key that does not fit, and a file that it cannot read, and names the file. Sessions are \
            resumed with tickets until a reload brings other certificates.",
    keys: &[
        key(
            "certificate",
            "path",
            Required,
            r#""cert.pem""#,
            NewConnections,
            "A PEM file: the certificate, then those of its issuers. With variables each connection of a listener with `upstream` or `return` \
             gets the certificate that it chooses: the gateway reads the files, with its user and below its `chroot`, keeps the last 1024, \
             and reads one again after 10 s. What a client chooses, also through a map, has no slash in it and leads to no other folder. A \
             handshake fails if the text is empty or the files cannot be used; if they could be before, that certificate is shown for up to \
             a minute more.",
        ),
        key(
            "key",
            "path",
            Required,
            r#""key.pem""#,
            NewConnections,
            "A PEM file: the key of the certificate. Its path may have variables, too; then the key has no password.",
        ),
        key(
            "certificates",
            "list of tables",
            Words("none"),
            r#"[{ certificate = "cert.pem", key = "key.pem" }]"#,
            NewConnections,
            "Instead of the two keys above. A client gets the certificate for the name it asks for, else the first.",
        ),
        key(
            "password_file",
            "path",
            Words("none"),
            r#""passwords""#,
            NewConnections,
            "A file with the passwords of an encrypted `key`, one a line; they are tried one after the other. It may be a pipe, which \
             is read once, for at most 10 s. Keys are encrypted by AES or triple DES in CBC mode, in PKCS #8 as `openssl pkcs8 -topk8` writes it, or in the traditional \
             encryption of PEM (`Proc-Type: 4,ENCRYPTED`). For one key, passwords times iterations may be 10 million at most: write the right one \
             first.",
        ),
        key(
            "reject_unknown_names",
            "flag",
            Value("false"),
            "true",
            NewConnections,
            "A client that asks for no host, or for one that no certificate is for, is refused with `unrecognized_name`.",
        ),
        key(
            "reject",
            "flag",
            Value("false"),
            "true",
            NewConnections,
            "Refuses each handshake that no `[[listen.server]]` with a `tls` of its own takes, with `unrecognized_name`. Needs no \
             certificate.",
        ),
        key(
            "client_certificates",
            r#"`"off"`, `"optional"`, `"optional-no-ca"` or `"required"`"#,
            Value(r#""off""#),
            r#""required""#,
            NewConnections,
            "Whether clients are asked for a certificate. `session.tls()` returns it to the app. `optional-no-ca`: one that no trusted \
             issuer has signed is accepted, too; `${tls.client.verify}` tells.",
        ),
        key(
            "client_issuers",
            "path",
            Words("none"),
            r#""cert.pem""#,
            NewConnections,
            "A PEM file: the issuers whose client certificates are trusted. Required with `client_certificates`.",
        ),
        key(
            "client_crl",
            "path",
            Words("none"),
            r#""crl.pem""#,
            NewConnections,
            "A PEM file: lists of revoked certificates. They must tell of each certificate of a client's chain, and must not have expired.",
        ),
        key(
            "client_verify_depth",
            "number",
            Words("6"),
            "1",
            NewConnections,
            "0 to 100: the most certificates between a client's and a root, as in OpenSSL. No chain has more than 6.",
        ),
        key(
            "alpn",
            "list of protocols",
            Words("none, or `[\"http/1.1\"]` for HTTP"),
            r#"["mqtt"]"#,
            NewConnections,
            "The protocols, best first.",
        ),
        key(
            "min_version",
            r#"`"1.2"` or `"1.3"`"#,
            Value(r#""1.2""#),
            r#""1.3""#,
            NewConnections,
            "The oldest TLS version.",
        ),
        key(
            "versions",
            "list of `\"1.2\"` and `\"1.3\"`",
            Value(r#"["1.2", "1.3"]"#),
            r#"["1.2"]"#,
            NewConnections,
            "The TLS versions, instead of `min_version`.",
        ),
        key(
            "reuse",
            "flag",
            Value("true"),
            "false",
            NewConnections,
            "Sessions can be resumed, by tickets and by their ids.",
        ),
    ],
};

pub(super) const CERTIFICATES: SectionReference = SectionReference {
    title: "an entry of `certificates`",
    heading: "`tls.certificates`",
    about: "An entry of the list.",
    keys: &[
        key(
            "certificate",
            "path",
            Required,
            r#""cert.pem""#,
            NewConnections,
            "As in `tls`.",
        ),
        key(
            "key",
            "path",
            Required,
            r#""key.pem""#,
            NewConnections,
            "As in `tls`.",
        ),
        key(
            "password_file",
            "path",
            Words("none"),
            r#""passwords""#,
            NewConnections,
            "As in `tls`.",
        ),
        key(
            "names",
            "list of hosts",
            Words("those of the certificate"),
            r#"["a.example", "*.b.example"]"#,
            NewConnections,
            "The hosts that it is shown for: `a.example`, `*.b.example` (all below it), `.c.example` (that, and all below it) or \
             `mail.*`, or a pattern behind `~`. The exact one comes first, then the longest, then the first pattern.",
        ),
    ],
};
