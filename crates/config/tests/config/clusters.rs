//! `[cluster]`, and every word of its errors.

use std::path::Path;

use moorline_config::{Cluster, ClusterLogin, load_text};

const LISTEN: &str = "[[listen]]\naddress = \"tcp://127.0.0.1:1\"\n";

fn cluster(lines: &str) -> Result<Cluster, String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "s3cret\n").unwrap();
    std::fs::write(folder.path().join("empty"), "\n").unwrap();
    let text = format!("{LISTEN}[cluster]\n{lines}\n");
    let loaded = load_text(&text, &folder.path().join("a.toml"));
    loaded
        .map(|loaded| loaded.config.cluster.unwrap())
        .map_err(|errors| errors.to_string())
}

#[test]
fn a_node_has_servers_a_name_and_a_number() {
    let cluster = cluster(
        "servers = [\"nats://10.0.0.1:4222\", \"tls://[::1]:4222\"]\nnode = \"a\"\nnumber = 511",
    );
    let expected = Cluster {
        servers: vec!["nats://10.0.0.1:4222".into(), "tls://[::1]:4222".into()],
        node: "a".into(),
        number: 511,
        subject: "moorline".into(),
        login: None,
        tls: None,
    };
    assert_eq!(cluster, Ok(expected));
}

#[test]
fn a_login_is_read_from_its_file_and_not_shown() {
    let node = "servers = [\"nats://h\"]\nnode = \"a\"\nnumber = 1";
    let login = |lines: &str| cluster(&format!("{node}\n{lines}")).unwrap().login;
    let login_of = login("user = \"u\"\npassword_file = \"secret\"");
    let Some(ClusterLogin::Password { user, password }) = &login_of else {
        panic!("{login_of:?}");
    };
    assert_eq!((user.as_str(), password.reveal()), ("u", "s3cret"));
    assert!(!format!("{login_of:?}").contains("s3cret"));
    for (key, is_it) in [
        (
            "token_file",
            matches!(
                login("token_file = \"secret\""),
                Some(ClusterLogin::Token(_))
            ),
        ),
        (
            "nkey_file",
            matches!(login("nkey_file = \"secret\""), Some(ClusterLogin::Nkey(_))),
        ),
        (
            "credentials_file",
            matches!(
                login("credentials_file = \"secret\""),
                Some(ClusterLogin::Credentials(_))
            ),
        ),
    ] {
        assert!(is_it, "{key}");
    }
}

#[test]
fn what_makes_no_node_is_refused_with_what_to_write() {
    let good = [
        ("servers", "[\"nats://h\"]"),
        ("node", "\"a\""),
        ("number", "1"),
    ];
    for (wrong, said) in [
        ("servers = []", "`servers` is empty"),
        (
            "servers = [\"http://h\"]",
            "begins neither with nats:// nor with tls://",
        ),
        (
            "servers = [\"nats://u:p@h\"]",
            "an address has a user in it",
        ),
        ("servers = [\"nats://h/x y\"]", "is no address of a host"),
        ("node = \"a b\"", "is no name of a node"),
        ("number = 0", "`number` is 0, out of its limits"),
        ("number = 512", "write a whole number from 1 to 511"),
        ("subject = \"a.>\"", "is no beginning of a subject"),
        ("subject = \"a..b\"", "is no beginning of a subject"),
        ("user = \"u\"", "`user` without `password_file`"),
        (
            "password_file = \"secret\"",
            "`password_file` without `user`",
        ),
        ("token_file = \"empty\"", "the file is empty"),
        ("token_file = \"missing\"", "cannot read"),
        (
            "token_file = \"secret\"\nnkey_file = \"secret\"",
            "several ways to log in",
        ),
        ("tls = { ca = \"secret\" }", "`tls`"),
        ("tls = { key = \"secret\" }", "belong together"),
    ] {
        let others = good
            .iter()
            .filter(|(key, _)| !wrong.starts_with(&format!("{key} =")));
        let others: Vec<_> = others
            .map(|(key, value)| format!("{key} = {value}"))
            .collect();
        let loaded = cluster(&format!("{}\n{wrong}", others.join("\n")));
        let error = loaded.unwrap_err();
        assert!(error.contains(said), "{wrong}: {error}");
    }
    let nothing = load_text(&format!("{LISTEN}[cluster]\n"), Path::new("/c/a.toml"));
    let error = nothing.unwrap_err().to_string();
    for key in ["servers", "node", "number"] {
        assert!(
            error.contains(&format!("[cluster] has no `{key}`")),
            "{error}"
        );
    }
}
