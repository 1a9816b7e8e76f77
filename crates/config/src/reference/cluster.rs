//! The keys of engines that work together.

use super::Default::{Required, Value, Words};
use super::Reload::{Restart, Yes};
use super::{SectionReference, key};

pub(super) const CLUSTER: SectionReference = SectionReference {
    title: "[cluster]",
    heading: "`[cluster]`",
    about: "Engines on several machines that work together, over NATS: see [Many machines](../guide/many-machines.md). Without the \
            table an engine is alone.",
    keys: &[
        key(
            "servers",
            "list of addresses",
            Required,
            r#"["nats://10.0.0.1:4222", "nats://10.0.0.2:4222"]"#,
            Yes,
            "NATS servers, as `nats://host:port` or, encrypted, `tls://host:port`. Without TLS each tells about others of its cluster. With TLS only these are used, so list them all.",
        ),
        key(
            "node",
            "name",
            Required,
            r#""a""#,
            Restart,
            "The name of this node. An engine is refused at start if another node has it.",
        ),
        key(
            "number",
            "1 to 511",
            Required,
            "1",
            Restart,
            "The number of this node. It is in the ids of its sessions. An engine is refused at start if another node has it.",
        ),
        key(
            "subject",
            "text",
            Value(r#""moorline""#),
            r#""game.eu""#,
            Restart,
            "What the subjects of this cluster begin with. Engines with another one are another cluster on the same servers.",
        ),
        key(
            "user",
            "text",
            Words("none"),
            r#""moorline""#,
            Yes,
            "Logs in with this user and the password in `password_file`.",
        ),
        key(
            "password_file",
            "path",
            Words("none"),
            r#""nats.password""#,
            Yes,
            "The file with the password. Like all files of `[cluster]` it is read at start and at each reload.",
        ),
        key(
            "token_file",
            "path",
            Words("none"),
            r#""nats.token""#,
            Yes,
            "Logs in with the token in this file.",
        ),
        key(
            "credentials_file",
            "path",
            Words("none"),
            r#""moorline.creds""#,
            Yes,
            "Logs in with the JWT and the seed in this file, as `nsc` writes it.",
        ),
        key(
            "nkey_file",
            "path",
            Words("none"),
            r#""moorline.nk""#,
            Yes,
            "Logs in with the NKey whose seed is in this file.",
        ),
        key(
            "tls",
            "table",
            Words("by `tls://` alone"),
            r#"{ ca = "ca.pem" }"#,
            Yes,
            "Encrypts connections to all servers.",
        ),
    ],
};

pub(super) const CLUSTER_TLS: SectionReference = SectionReference {
    title: "`tls` of the cluster",
    heading: "`tls` of `[cluster]`",
    about: "How the NATS servers are verified, and what they are shown.",
    keys: &[
        key(
            "ca",
            "path",
            Words("the system's roots"),
            r#""ca.pem""#,
            Yes,
            "The issuers that are trusted, in PEM.",
        ),
        key(
            "certificate",
            "path",
            Words("none"),
            r#""node.pem""#,
            Yes,
            "The certificate for servers that ask for one, with its chain, in PEM.",
        ),
        key(
            "key",
            "path",
            Words("none"),
            r#""node.key""#,
            Yes,
            "Its private key, in PEM.",
        ),
    ],
};
