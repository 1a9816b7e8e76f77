//! The reference says what the parser does: every key, every default, and what a reload does with a change.

use std::collections::BTreeSet;
use std::path::Path;

use moorline_config::reference::{Default, Key, Reload, SECTIONS, page};
use moorline_config::{Config, live_change, load_text};

const CURRENT: &str = include_str!("../../../docs/reference/configuration.md");

/// Of an issuer of nothing: nothing is revoked.
const CRL: &str = include_str!("config/empty_list.pem");

/// A folder with `cert.pem`, `key.pem` and `crl.pem`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.path().join("cert.pem"), issued.cert.pem()).unwrap();
    let key = issued.signing_key.serialize_pem();
    std::fs::write(folder.path().join("crl.pem"), CRL).unwrap();
    for name in ["ca.pem", "node.pem"] {
        std::fs::write(folder.path().join(name), issued.cert.pem()).unwrap();
    }
    std::fs::write(folder.path().join("node.key"), &key).unwrap();
    let secrets = [
        "nats.password",
        "nats.token",
        "moorline.creds",
        "moorline.nk",
    ];
    for token in ["publish.token", "admin.token"].iter().chain(&secrets) {
        std::fs::write(folder.path().join(token), "0123456789abcdef\n").unwrap();
    }
    std::fs::write(folder.path().join("key.pem"), key).unwrap();
    std::fs::write(folder.path().join("main.lua"), "").unwrap();
    folder
}

/// A file in which this key of this table has this value, and nothing but what the key needs beside it. `None`: without
/// the key.
#[expect(clippy::too_many_lines, reason = "one arm for each table")]
fn file(title: &str, key: &str, value: Option<&str>) -> String {
    let line = value.map_or(String::new(), |value| format!("{key} = {value}"));
    let inline = value.map_or(String::new(), |value| format!(", {key} = {value}"));
    let listen = |lines: &str| format!("[[listen]]\nname = \"a\"\n{lines}\n");
    let tcp = "address = \"tcp://127.0.0.1:0\"";
    let with_tcp = listen(tcp);
    let upstream = |lines: String| {
        let listener = listen(&format!("{tcp}\nupstream = \"mysql\""));
        format!("{listener}[upstream.mysql]\n{lines}")
    };
    match (title, key) {
        ("[engine]", "group" | "chroot") => {
            format!("[engine]\nuser = \"nobody\"\n{line}\n{with_tcp}")
        }
        ("[workers]", "lua_path" | "lua_arguments") => {
            format!("[workers]\nlua = \"main.lua\"\n{line}\n{with_tcp}")
        }
        ("[engine]" | "[engine.log]" | "[engine.hooks]" | "[workers]" | "[tasks]", _) => {
            format!("{title}\n{line}\n{with_tcp}")
        }
        ("[[helpers]]", "name") => format!("{title}\n{line}\ncommand = [\"x\"]\n{with_tcp}"),
        ("[[helpers]]", _) => format!("{title}\nname = \"x\"\n{line}\n{with_tcp}"),
        ("[[listen]]", "address") => listen(&line),
        ("[[listen]]", "name") => format!("[[listen]]\n{line}\n{tcp}\n"),
        ("[[listen]]", "websocket" | "static") => {
            let other =
                ["websocket = \"/other\"", "static = \"/\""][usize::from(key == "websocket")];
            listen(&format!(
                "address = \"http://127.0.0.1:0\"\n{other}\n{line}"
            ))
        }
        ("[[listen]]", "static_cache") => listen(&format!(
            "address = \"http://127.0.0.1:0\"\nstatic = \"/\"\n{line}"
        )),
        ("[[listen]]", "names") => listen(&format!("{tcp}\nreturn = \"\"\n{line}")),
        ("[[listen.server]]", _) => server_file(key, &line, value.is_some()),
        ("[[listen.route]]", _) => {
            let mut lines = vec![match key {
                "path" => "",
                "token" | "token_file" => "path = \"/publish/:group\"",
                _ => "path = \"/a\"",
            }];
            lines.extend(match key {
                "kind" => vec![],
                "folder" | "token" | "token_file" if value.is_none() => vec!["kind = \"app\""],
                "folder" => vec!["kind = \"static\""],
                "cache" => vec!["kind = \"static\"", "folder = \"/\""],
                "max_body" => vec!["kind = \"app\""],
                "token" | "token_file" => vec!["kind = \"publish\""],
                _ => vec!["kind = \"websocket\""],
            });
            let lines = lines.join("\n");
            listen(&format!(
                "address = \"http://127.0.0.1:0\"\n[[listen.route]]\n{lines}\n{line}"
            ))
        }
        ("`compression`", _) => listen(&format!(
            "address = \"http://127.0.0.1:0\"\nwebsocket = \"/ws\"\ncompression = {{ {line} }}"
        )),
        (
            "[[listen]]",
            "max_message" | "compression" | "ping_interval" | "pong_timeout" | "origins" | "hosts"
            | "subprotocols",
        ) => listen(&format!(
            "address = \"http://127.0.0.1:0\"\nwebsocket = \"/ws\"\n{line}"
        )),
        ("[[listen]]", "trusted_proxies") => listen(&format!(
            "address = \"http://127.0.0.1:0\"\nwebsocket = \"/ws\"\n{line}"
        )),
        ("[[listen]]", "forwarded_header" | "proxy_protocol") => listen(&format!(
            "address = \"http://127.0.0.1:0\"\nwebsocket = \"/ws\"\ntrusted_proxies = [\"unix\"]\n{line}"
        )),
        ("[[listen]]", "upstream") => listen(&format!(
            "{tcp}\n{line}\n[upstream.mysql]\npeers = [\"tcp://127.0.0.1:1\"]"
        )),
        ("[[listen]]", "upstream_like") => {
            let like = value.unwrap_or("\"other\"").trim_matches('"');
            let other = if like == "other" {
                ""
            } else {
                "[upstream.other]\npeers = [\"tcp://127.0.0.1:1\"]\n"
            };
            listen(&format!(
                "{tcp}\nupstream = \"127.0.0.1:1\"\n{line}\n{other}[upstream.{like}]\npeers = [\"tcp://127.0.0.1:1\"]"
            ))
        }
        ("[[listen]]", "set") => listen(&format!("{tcp}\nreturn = \"x\"\n{line}")),
        ("[map.NAME]", _) => {
            let values = match value {
                _ if key == "values" => "",
                Some("\"network\"") => "values = { \"::1\" = \"a\" }",
                _ => "values = { a = \"b\" }",
            };
            let from = if key == "from" && value.is_some() {
                ""
            } else {
                "from = \"${client.port}\""
            };
            let is_network = key == "from" && value.is_none();
            let from = if is_network {
                "kind = \"network\""
            } else {
                from
            };
            let values = if is_network {
                "values = { \"::1\" = \"a\" }"
            } else {
                values
            };
            let listener = listen(&format!("{tcp}\nreturn = \"${{map.a}}\""));
            format!("{listener}[map.a]\n{from}\n{values}\n{line}\n")
        }
        ("[[listen]]", "preread") => listen(&format!(
            "{tcp}\nupstream = \"a\"\n{line}\n[upstream.a]\npeers = [\"tcp://127.0.0.1:1\"]"
        )),
        ("`tls` of an upstream", "certificate") if value.is_some() => upstream(format!(
            "peers = [\"tcp://127.0.0.1:1\"]\ntls = {{ key = \"key.pem\"{inline} }}"
        )),
        ("`tls` of an upstream", "key") if value.is_some() => upstream(format!(
            "peers = [\"tcp://127.0.0.1:1\"]\ntls = {{ certificate = \"cert.pem\"{inline} }}"
        )),
        ("`tls` of an upstream", "password_file") => upstream(format!(
            "peers = [\"tcp://127.0.0.1:1\"]\ntls = {{ certificate = \"cert.pem\", key = \"key.pem\"{inline} }}"
        )),
        ("`tls` of an upstream", _) => upstream(format!(
            "peers = [\"tcp://127.0.0.1:1\"]\ntls = {{ {line} }}"
        )),
        ("`preread`", _) => listen(&format!(
            "{tcp}\nupstream = \"a\"\npreread = {{ {line} }}\n[upstream.a]\npeers = [\"tcp://127.0.0.1:1\"]"
        )),
        ("[[listen]]", "access_log") => listen(&format!(
            "{tcp}\nupstream = \"a\"\n{line}\n[upstream.a]\npeers = [\"tcp://127.0.0.1:1\"]\n[access_log.main]\npath = \"a\""
        )),
        ("[access_log.NAME]", _) => {
            let path = if key == "path" {
                ""
            } else {
                "path = \"/a.log\""
            };
            let other = match key {
                "escape" => "format = \"a\"",
                "flush" => "gzip = 1",
                _ => "",
            };
            format!("{with_tcp}[access_log.main]\n{path}\n{other}\n{line}")
        }
        ("[[listen]]", "rate") => listen(&format!(
            "{tcp}\nupstream = \"a\"\n{line}\n[upstream.a]\npeers = [\"tcp://127.0.0.1:1\"]"
        )),
        ("`rate`", _) => {
            let other = ["up", "down"][usize::from(key == "up")];
            let rate = value.map_or(format!("{other} = \"1KiB\""), |_| line);
            listen(&format!(
                "{tcp}\nupstream = \"a\"\nrate = {{ {rate} }}\n[upstream.a]\npeers = [\"tcp://127.0.0.1:1\"]"
            ))
        }
        ("[[listen]]", "limits") => {
            listen(&format!("{tcp}\n{line}\n[limit.per_client]\nkey = \"a\""))
        }
        ("[[listen]]", "requests" | "responses") => listen(&format!(
            "address = \"udp://127.0.0.1:0\"\nupstream = \"dns\"\n{line}\n[upstream.dns]\npeers = [\"udp://127.0.0.1:1\"]"
        )),
        ("[[listen]]", _) => listen(&format!("{tcp}\n{line}")),
        ("an entry of `limits`", _) => {
            let others = ["limit = \"per_client\"", "most = 9"];
            let others = others
                .into_iter()
                .filter(|it| !it.starts_with(&format!("{key} =")));
            let entry: Vec<_> = others.chain((!line.is_empty()).then_some(&*line)).collect();
            let limits = format!("limits = [{{ {} }}]", entry.join(", "));
            listen(&format!("{tcp}\n{limits}\n[limit.per_client]\nkey = \"a\""))
        }
        ("[admin]", "listen") => format!("{with_tcp}[admin]\n{line}"),
        ("[admin]", _) => format!("{with_tcp}[admin]\nlisten = \"127.0.0.1:1\"\n{line}"),
        ("[admin.otlp]", _) => {
            let other = match key {
                "endpoint" => "",
                _ => "endpoint = \"http://127.0.0.1:4318\"",
            };
            format!("{with_tcp}[admin]\nlisten = \"127.0.0.1:1\"\n[admin.otlp]\n{other}\n{line}")
        }
        ("[cluster]" | "`tls` of the cluster", _) => cluster_file(title, key, value),
        ("[limit.NAME]", _) => {
            let other = if key == "key" { "" } else { "key = \"a\"" };
            format!("{with_tcp}[limit.per_client]\n{other}\n{line}")
        }
        ("a rule of `access`", _) => {
            let other = ["deny", "allow"][usize::from(key == "deny")];
            let rule = value.map_or(format!("{other} = \"::1\""), |_| line);
            listen(&format!("{tcp}\naccess = [{{ {rule} }}]"))
        }
        ("[upstream.NAME]", _) => upstream(match key {
            "peers" => line,
            _ => format!("peers = [\"tcp://127.0.0.1:1\"]\n{line}"),
        }),
        ("an entry of `peers`", "address") => upstream(format!("peers = [{{ {line} }}]")),
        ("an entry of `peers`", "service") if value.is_some() => {
            upstream(format!("peers = [{{ {line} }}]"))
        }
        ("an entry of `peers`", _) => upstream(format!(
            "peers = [{{ address = \"tcp://127.0.0.1:1\"{inline} }}, \"tcp://127.0.0.1:2\"]"
        )),
        ("`balance`", _) => {
            let kind = match key {
                "kind" => String::new(),
                "by" => "kind = \"least-time\"".to_owned(),
                "key" if value.is_none() => "kind = \"least-time\"".to_owned(),
                "key" => "kind = \"hash\"".to_owned(),
                _ => "kind = \"hash\", key = \"${client.address}\"".to_owned(),
            };
            let balance = [kind, line].join(", ");
            let balance = balance.trim_matches([',', ' ']);
            upstream(format!(
                "peers = [\"tcp://127.0.0.1:1\"]\nbalance = {{ {balance} }}"
            ))
        }
        ("`resolver`", _) => upstream(format!(
            "peers = [\"tcp://127.0.0.1:1\"]\nresolver = {{ {line} }}"
        )),
        ("`bind`", "address") => upstream(format!(
            "peers = [\"tcp://127.0.0.1:1\"]\nbind = {{ {line} }}"
        )),
        ("`bind`", _) => upstream(format!(
            "peers = [\"tcp://127.0.0.1:1\"]\nbind = {{ address = \"127.0.0.1\"{inline} }}"
        )),
        ("`next`", _) => upstream(format!(
            "peers = [\"tcp://127.0.0.1:1\"]\nnext = {{ {line} }}"
        )),
        ("`check`", "kind") => upstream(format!(
            "peers = [\"tcp://127.0.0.1:1\"]\ncheck = {{ {line} }}"
        )),
        ("`check`", "expect") if value.is_some() => upstream(format!(
            "peers = [\"tcp://127.0.0.1:1\"]\ncheck = {{ kind = \"expect\"{inline} }}"
        )),
        ("`check`", "send") => upstream(format!(
            "peers = [\"tcp://127.0.0.1:1\"]\ncheck = {{ kind = \"expect\", expect = \"x\"{inline} }}"
        )),
        ("`check`", _) => upstream(format!(
            "peers = [\"tcp://127.0.0.1:1\"]\ncheck = {{ kind = \"connect\"{inline} }}"
        )),
        ("`framing`", _) => listen(&format!("{tcp}\nframing = {{ {line} }}")),
        ("`length` framing", _) => {
            listen(&format!("{tcp}\nframing = {{ kind = \"length\"{inline} }}"))
        }
        ("`delimiter` framing", "delimiter") => listen(&format!(
            "{tcp}\nframing = {{ kind = \"delimiter\"{inline} }}"
        )),
        ("`delimiter` framing", _) => listen(&format!(
            "{tcp}\nframing = {{ kind = \"delimiter\", delimiter = \"x\"{inline} }}"
        )),
        ("`line` framing", _) => listen(&format!("{tcp}\nframing = {{ kind = \"line\"{inline} }}")),
        ("`tls`", "certificate") => {
            listen(&format!("{tcp}\ntls = {{ key = \"key.pem\"{inline} }}"))
        }
        ("`tls`", "key") => listen(&format!(
            "{tcp}\ntls = {{ certificate = \"cert.pem\"{inline} }}"
        )),
        ("`tls`", "certificates") => listen(&format!("{tcp}\ntls = {{ {line} }}")),
        ("`tls`", _) => {
            let beside = match key {
                "client_certificates" if value.is_some_and(|value| value != "\"off\"") => {
                    ", client_issuers = \"cert.pem\""
                }
                "client_issuers" => ", client_certificates = \"required\"",
                "client_crl" | "client_verify_depth" => {
                    ", client_certificates = \"required\", client_issuers = \"cert.pem\""
                }
                _ => "",
            };
            listen(&format!(
                "{tcp}\ntls = {{ certificate = \"cert.pem\", key = \"key.pem\"{beside}{inline} }}"
            ))
        }
        ("an entry of `certificates`", _) => {
            let other = match key {
                "certificate" => "key = \"key.pem\"",
                "key" => "certificate = \"cert.pem\"",
                _ => "certificate = \"cert.pem\", key = \"key.pem\"",
            };
            listen(&format!(
                "{tcp}\ntls = {{ certificates = [{{ {other}{inline} }}] }}"
            ))
        }
        _ => panic!("no file for {key} of {title}"),
    }
}

/// A file with a node of a cluster that has this key.
fn cluster_file(title: &str, key: &str, value: Option<&str>) -> String {
    let with = |key: &str, value: &str| format!("{key} = {value}\n");
    let beside = match key {
        "user" => Some("password_file"),
        "password_file" => Some("user"),
        "certificate" => Some("key"),
        "key" => Some("certificate"),
        _ => None,
    };
    let mut lines = String::new();
    for (required, usual) in [
        ("servers", "[\"nats://127.0.0.1:1\"]"),
        ("node", "\"n\""),
        ("number", "7"),
    ] {
        if required != key {
            lines += &with(required, usual);
        }
    }
    let beside = beside.filter(|_| value.is_some());
    let entries = value.map(|value| (key, value)).into_iter();
    let file = |key: &str| match key {
        "certificate" => "\"node.pem\"",
        "key" => "\"node.key\"",
        _ => "\"nats.password\"",
    };
    let entries: Vec<_> = entries
        .chain(beside.map(|beside| (beside, file(beside))))
        .collect();
    if title == "[cluster]" {
        lines.extend(entries.iter().map(|(key, value)| with(key, value)));
    } else {
        let entries: Vec<_> = entries
            .iter()
            .map(|(key, value)| format!("{key} = {value}"))
            .collect();
        lines += &with("tls", &format!("{{ {} }}", entries.join(", ")));
    }
    format!("[[listen]]\nname = \"a\"\naddress = \"tcp://127.0.0.1:0\"\n[cluster]\n{lines}")
}

/// A file with a server that has this line.
fn server_file(key: &str, line: &str, is_written: bool) -> String {
    let names = match key {
        "names" => "",
        _ => "names = [\"~(a)\"]",
    };
    let to = match key {
        "upstream" | "return" if is_written => "",
        "return" => "upstream = \"mysql\"",
        "upstream_like" => "upstream = \"127.0.0.1:1\"",
        _ => "return = \"x\"",
    };
    let like = match key {
        "upstream_like" if is_written => "[upstream.settings]\npeers = []\n",
        _ => "",
    };
    format!(
        "[[listen]]\nname = \"a\"\naddress = \"tcp://127.0.0.1:0\"\nreturn = \"\"\n\
         tls = {{ certificate = \"cert.pem\", key = \"key.pem\" }}\n[[listen.server]]\n{names}\n{to}\n{line}\n\
         [upstream.mysql]\npeers = [\"tcp://127.0.0.1:1\"]\n{like}\
         [limit.one]\nkey = \"a\"\n[access_log.main]\npath = \"a\"\n"
    )
}

/// The keys of tables that are not tables themselves.
fn keys() -> impl Iterator<Item = (&'static str, &'static Key)> {
    let keys = SECTIONS
        .iter()
        .flat_map(|section| section.keys.iter().map(|key| (section.title, key)));
    keys.filter(|(title, key)| {
        !title.is_empty()
            && !key.example.starts_with("[engine.")
            && !key.example.starts_with("[admin.")
            && !key.example.starts_with("[[listen.")
    })
}

fn load(folder: &Path, text: &str) -> Config {
    let loaded = load_text(text, &folder.join("moorline.toml"));
    loaded
        .unwrap_or_else(|errors| panic!("{text}\n{errors}"))
        .config
}

#[test]
fn the_page_is_current() {
    assert!(CURRENT == page(), "it is not: cargo xtask docs");
}

#[test]
fn every_example_is_accepted_and_says_something_else_than_the_default() {
    let folder = folder();
    for (title, key) in keys() {
        let with = load(folder.path(), &file(title, key.name, Some(key.example)));
        if key.default != Default::Required
            && key.name != "client_issuers"
            && key.name != "certificates"
        {
            let without = load(folder.path(), &file(title, key.name, None));
            assert_ne!(with, without, "{title} {}", key.name);
        }
    }
}

#[test]
fn every_default_in_the_table_holds_without_the_key() {
    let folder = folder();
    for (title, key) in keys() {
        let Default::Value(value) = key.default else {
            continue;
        };
        let with = load(folder.path(), &file(title, key.name, Some(value)));
        let without = load(folder.path(), &file(title, key.name, None));
        assert_eq!(with, without, "{title} {}", key.name);
    }
}

#[test]
fn a_required_key_is_missed() {
    let folder = folder();
    for (title, key) in keys().filter(|(_, key)| key.default == Default::Required) {
        let text = file(title, key.name, None);
        let refused = load_text(&text, &folder.path().join("moorline.toml")).unwrap_err();
        let expected = format!("no `{}`", key.name);
        assert!(refused.to_string().contains(&expected), "{text}\n{refused}");
    }
}

#[test]
fn a_reload_is_refused_for_the_keys_that_need_a_restart_and_for_no_others() {
    let folder = folder();
    for (title, key) in keys().filter(|(_, key)| key.default != Default::Required) {
        if key.name == "client_issuers" || key.name == "certificates" {
            continue;
        }
        let present = load(folder.path(), &file(title, key.name, None));
        let new = load(folder.path(), &file(title, key.name, Some(key.example)));
        let changed = live_change(&present, new, &BTreeSet::new());
        let is_refused = key.reload == Reload::Restart;
        assert_eq!(changed.is_err(), is_refused, "{title} {}", key.name);
        if let Err(refused) = changed {
            let named = format!("`{}.{}`", title.trim_matches(['[', ']']), key.name);
            assert!(refused[0].contains(&named), "{named}: {refused:?}");
        }
    }
}
