//! What a configuration says when it is right, and what is said when it is wrong.

#[path = "config/clusters.rs"]
mod clusters;
#[path = "config/datagrams.rs"]
mod datagrams;
#[path = "config/entry.rs"]
mod entry;
#[path = "config/errors.rs"]
mod errors;
#[path = "config/listener_tls.rs"]
mod listener_tls;
#[path = "config/maps.rs"]
mod maps;
#[path = "config/peer_tls.rs"]
mod peer_tls;
#[path = "config/preread.rs"]
mod preread;
#[path = "config/resolvers.rs"]
mod resolvers;
#[path = "config/servers.rs"]
mod servers;
#[path = "config/upstreams.rs"]
mod upstreams;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use moorline_config::{
    Balance, Bind, BindAddress, Check, CheckKind, Config, CpuAffinity, Destination, Dispatch,
    Engine, Helper, HelperTask, Hooks, Listener, Liveness, Load, Log, LogFormat, Next, OnCrash,
    OnError, Ping, ProxyVersion, Route, RouteKind, RoutePath, Routes, StaticFiles, Tasks, TimeOf,
    Upstream, UpstreamPeer, Workers, check_app_text, live_change, load, load_text, run_dir,
};
use moorline_net::{Address, Counts, Endian, Framing, HostPort, Length};
use proptest::prelude::*;

const SKETCH: &str = r#"
[engine]
run_dir = "/run/chat"
gateway_loops = 2
user = "root"
[engine.log]
format = "pretty"
file = "/var/log/chat.log"

[workers]
count = 2
max_wait = "10s"
start_timeout = "10s"
dispatch = "sticky"

[tasks]
count = 1

[[helpers]]
name = "feeder"
command = ["./feeder", "--fast"]

[[listen]]
address = "tcp://0.0.0.0:9501"
framing = { kind = "length", width = 4, endian = "big", offset = 0, counts = "payload", max = "2MiB" }
idle_timeout = "60s"
high_watermark = "1MiB"
low_watermark = "256KiB"
hard_limit = "8MiB"
on_crash = "close"
max_sessions = 100000

[[listen]]
address = "http://127.0.0.1:9500"
websocket = "/ws"
static = "public"

[app]
greeting = "ahoy"
"#;

/// A folder with `chat/moorline.toml` and `chat/public`.
fn chat(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let chat = folder.path().canonicalize().unwrap().join("chat");
    std::fs::create_dir_all(chat.join("public")).unwrap();
    std::fs::write(chat.join("moorline.toml"), text).unwrap();
    (folder, chat)
}

fn listener(name: &str, address: Address, framing: Framing) -> Listener {
    Listener {
        name: name.into(),
        address,
        destination: None,
        sets: Vec::new(),
        names: Vec::new(),
        host: None,
        uses: moorline_config::Uses::default(),
        datagrams: Default::default(),
        tls: None,
        framing,
        routes: Default::default(),
        requests: Default::default(),
        proxies: Default::default(),
        compression: None,
        idle_timeout: None,
        receive_timeout: None,
        send_timeout: None,
        min_receive_rate: None,
        max_sessions_per_address: None,
        accept_rate: None,
        max_handshakes: 1024,
        half_close_timeout: Duration::from_secs(300),
        handshake_timeout: Duration::from_secs(10),
        liveness: Liveness {
            ping: None,
            keepalive: Some(Duration::from_secs(60)),
            user_timeout: Some(Duration::from_secs(300)),
        },
        high_watermark: 1 << 20,
        low_watermark: 256 << 10,
        hard_limit: 8 << 20,
        on_crash: OnCrash::Close,
        on_error: OnError::Close,
        attempts: 3,
        stream: Default::default(),
        max_sessions: 100_000,
        deliver_after_close: false,
        dispatch: Dispatch::Sticky,
        certificate: None,
        is_retired: false,
    }
}

fn host_port(host: &str, port: u16) -> HostPort {
    HostPort {
        host: host.into(),
        port,
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one scenario, in order")]
fn the_sketch_loads() {
    let (_folder, chat) = chat(SKETCH);
    let loaded = load(&chat).unwrap();
    let length = Length::default()
        .width(4)
        .endian(Endian::Big)
        .offset(0)
        .counts(Counts::Payload)
        .max(2 << 20)
        .keep_header(false);
    let tcp = Listener {
        idle_timeout: Some(Duration::from_secs(60)),
        ..listener(
            "tcp://0.0.0.0:9501",
            Address::Tcp(host_port("0.0.0.0", 9501)),
            Framing::Length(length),
        )
    };
    let http = Listener {
        routes: Routes::new(vec![
            Route {
                path: RoutePath::all(),
                kind: RouteKind::Static(StaticFiles {
                    folder: chat.join("public"),
                    cache: "no-cache".into(),
                }),
            },
            Route {
                path: RoutePath::parse("/ws").unwrap(),
                kind: RouteKind::WebSocket,
            },
        ]),
        ..listener(
            "http://127.0.0.1:9500",
            Address::Http(host_port("127.0.0.1", 9500)),
            Framing::WebSocket { max: 2 << 20 },
        )
    };
    let http = Listener {
        liveness: Liveness {
            ping: Some(Ping {
                interval: Duration::from_secs(25),
                timeout: Duration::from_secs(20),
            }),
            ..http.liveness
        },
        ..http
    };
    let expected = Config {
        name: "chat".into(),
        engine: Engine {
            run_dir: "/run/chat".into(),
            gateway_loops: 2,
            ring_memory: 8 << 20,
            memory_limit: None,
            history_memory: 64 << 20,
            history_timeout: Duration::from_secs(600),
            user: Some("root".into()),
            group: None,
            gateway_user: None,
            stop_over: Duration::ZERO,
            stop_code: 1001,
            kill_after: Some(Duration::from_secs(30)),
            chroot: None,
            log: Log {
                format: LogFormat::Pretty,
                file: Some("/var/log/chat.log".into()),
                level: "info".into(),
            },
            hooks: Hooks::default(),
        },
        workers: Workers {
            count: 2,
            max_wait: Duration::from_secs(10),
            start_timeout: Duration::from_secs(10),
            dispatch: Dispatch::Sticky,
            max_requests: None,
            stall_after: Some(Duration::from_secs(1)),
            wait_after: None,
            kill_after: None,
            cpu_affinity: CpuAffinity::Off,
            lua: None,
        },
        tasks: Tasks {
            count: 1,
            attempts: 3,
            max_requests: None,
            stall_after: None,
            wait_after: None,
            kill_after: None,
        },
        cluster: None,
        helpers: vec![Helper {
            name: "feeder".into(),
            task: HelperTask::Command(vec![
                chat.join("./feeder").to_str().unwrap().into(),
                "--fast".into(),
            ]),
        }],
        listeners: vec![tcp, http],
        upstreams: vec![],
        limits: vec![],
        access_logs: vec![],
        maps: Vec::new(),
        app: "greeting = \"ahoy\"\n".into(),
    };
    assert_eq!(loaded.config, expected);
    assert_eq!(loaded.path, chat.join("moorline.toml"));
    let words: Vec<_> = loaded
        .config
        .listeners
        .iter()
        .map(Listener::kind_word)
        .collect();
    assert_eq!(words, ["length", "websocket"]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one file, in order")]
fn an_upstream_loads_with_its_defaults_and_with_what_its_peers_say() {
    let text = r#"[[listen]]
address = "tcp://0.0.0.0:3306"
upstream = "mysql"
[upstream.mysql]
balance = { kind = "random-two", by = "first-byte" }
connect_timeout = "1s"
next = { tries = 3 }
slow_start = "30s"
check = { kind = "connect", interval = "500ms" }
bind = "10.0.0.9"
proxy_protocol = 2
max_fails = 2
peers = [
    { address = "tcp://10.0.0.1:3306", weight = 5, max_connections = 100, fail_timeout = "1m" },
    "unix:///run/mysql.sock",
    { address = "tcp://db.example:3306", backup = true, down = true, max_fails = 0 },
]
[upstream.a]
peers = ["tcp://10.0.0.1:1"]
"#;
    let config = load_text(text, Path::new("/a.toml")).unwrap().config;
    let peer = |address: &str| UpstreamPeer {
        address: address.parse().unwrap(),
        weight: 1,
        max_connections: None,
        max_fails: 2,
        fail_timeout: Duration::from_secs(10),
        is_backup: false,
        is_down: false,
    };
    let mysql = Upstream {
        name: "mysql".into(),
        balance: Balance::RandomTwo(Load::Time(TimeOf::FirstByte)),
        connect_timeout: Duration::from_secs(1),
        next: Next {
            tries: Some(3),
            timeout: Duration::from_secs(30),
        },
        slow_start: Some(Duration::from_secs(30)),
        check: Some(Check {
            kind: CheckKind::Connect,
            interval: Duration::from_millis(500),
            rise: 2,
            fall: 3,
            timeout: Duration::from_millis(500),
        }),
        bind: Some(Bind {
            address: BindAddress::Fixed("10.0.0.9:0".parse().unwrap()),
            is_transparent: false,
        }),
        proxy_protocol: Some(ProxyVersion::Two),
        tls: None,
        resolver: None,
        peers: vec![
            UpstreamPeer {
                weight: 5,
                max_connections: Some(100),
                fail_timeout: Duration::from_secs(60),
                ..peer("tcp://10.0.0.1:3306")
            },
            peer("unix:///run/mysql.sock"),
            UpstreamPeer {
                is_backup: true,
                is_down: true,
                max_fails: 0,
                ..peer("tcp://db.example:3306")
            },
        ],
    };
    let a = Upstream {
        name: "a".into(),
        balance: Balance::RoundRobin,
        connect_timeout: Duration::from_secs(5),
        next: Next {
            tries: None,
            ..mysql.next
        },
        slow_start: None,
        check: None,
        bind: None,
        proxy_protocol: None,
        tls: None,
        resolver: None,
        peers: vec![UpstreamPeer {
            max_fails: 1,
            ..peer("tcp://10.0.0.1:1")
        }],
    };
    assert_eq!(config.upstreams, [a, mysql.clone()]);
    assert_eq!(config.upstream("mysql"), Some(&mysql));
    let listener = &config.listeners[0];
    assert_eq!(listener.kind_word(), "relay");
    let relayed = Destination::Upstream("mysql".to_owned());
    assert_eq!(listener.destination, Some(relayed));
    assert_eq!(listener.idle_timeout, Some(Duration::from_secs(600)));
}

#[test]
fn a_listener_that_begins_to_relay_gets_a_place_of_its_own() {
    let text = |upstream: &str| {
        format!(
            "[[listen]]\naddress = \"tcp://127.0.0.1:0\"\n{upstream}\n[upstream.a]\npeers = [\"tcp://10.0.0.1:1\"]\n[upstream.b]\npeers = [\"tcp://10.0.0.1:1\"]"
        )
    };
    let config = |upstream: &str| {
        let loaded = load_text(&text(upstream), Path::new("/a.toml"));
        loaded.unwrap().config
    };
    let (plain, a) = (config(""), config("upstream = \"a\""));
    let change = |present: &Config, new: &Config| {
        let changed = live_change(present, new.clone(), &BTreeSet::new());
        changed.unwrap().listeners.len()
    };
    assert_eq!(change(&plain, &a), 2);
    assert_eq!(change(&a, &config("upstream = \"b\"")), 1);
}

#[test]
fn a_file_and_its_folder_are_one_configuration() {
    let (_folder, chat) = chat("[[listen]]\naddress = \"tcp://127.0.0.1:0\"\n");
    assert_eq!(
        load(&chat).unwrap(),
        load(&chat.join("../chat/moorline.toml")).unwrap()
    );
    let engine = load(&chat).unwrap().config.engine;
    assert_eq!(run_dir(&chat).unwrap(), engine.run_dir);
}

#[test]
fn the_run_folder_is_found_in_a_broken_file() {
    let (_folder, chat) = chat("[engine]\nrun_dir = \"run\"\nloops = 5\n[[listen]\n");
    assert_eq!(run_dir(&chat).unwrap(), chat.join("run"));
}

#[test]
fn every_framing_can_be_written() {
    let framing = |written: &str| {
        let text = format!("[[listen]]\naddress = \"unix://echo.sock\"\nframing = {written}\n");
        format!(
            "{:?}",
            load_text(&text, Path::new("/a.toml"))
                .unwrap()
                .config
                .listeners[0]
                .framing
        )
    };
    let expected = [
        (r#"{ kind = "raw" }"#, "Raw"),
        (r#"{ kind = "line" }"#, "Line { max: 2097152 }"),
        (
            r#"{ kind = "length" }"#,
            "Length(Length { width: 4, endian: Big, offset: 0, counts: Payload, max: 2097152, keep_header: false })",
        ),
        (
            r#"{ kind = "length", width = 2, endian = "little", offset = 2, body = 8, max = "64KiB" }"#,
            "Length(Length { width: 2, endian: Little, offset: 2, counts: From(8), max: 65536, keep_header: true })",
        ),
        (
            r#"{ kind = "length", counts = "payload", max = "4KiB" }"#,
            "Length(Length { width: 4, endian: Big, offset: 0, counts: Payload, max: 4096, keep_header: false })",
        ),
        (
            r#"{ kind = "length", counts = "message", max = "4KiB" }"#,
            "Length(Length { width: 4, endian: Big, offset: 0, counts: Message, max: 4096, keep_header: false })",
        ),
        (
            r#"{ kind = "delimiter", delimiter = "\r\n" }"#,
            "Delimiter(Delimiter { delimiter: [13, 10], keep: false, max: 2097152 })",
        ),
        (
            r#"{ kind = "delimiter", delimiter = [0, 0xff], keep = true }"#,
            "Delimiter(Delimiter { delimiter: [0, 255], keep: true, max: 2097152 })",
        ),
    ];
    for (written, framing_is) in expected {
        assert_eq!(framing(written), framing_is, "{written}");
    }
}

#[test]
fn settings_of_the_app_are_handed_on() {
    let text =
        "[[listen]]\naddress = \"udp://127.0.0.1:0\"\n[app]\nb = 1\n[app.a]\nc = [1.5, \"x\"]\n";
    let config = load_text(text, Path::new("/a.toml")).unwrap().config;
    let app: toml::Table = config.app.parse().unwrap();
    let expected: toml::Table = "b = 1\n[a]\nc = [1.5, \"x\"]\n".parse().unwrap();
    assert_eq!(app, expected);
    assert_eq!(config.listeners[0].kind_word(), "datagram");
}

#[test]
fn a_reload_refuses_changes_that_need_a_restart() {
    let load = |text: &str| load_text(text, Path::new("/a.toml")).unwrap().config;
    let old = load(
        "[engine]\ngateway_loops = 1\n[[listen]]\nname = \"a\"\naddress = \"tcp://127.0.0.1:0\"\n",
    );
    let new = load(
        "[engine]\ngateway_loops = 2\nring_memory = \"16MiB\"\nuser = \"root\"\nrun_dir = \"/a\"\n[workers]\ncount = 7\n[[listen]]\naddress = \"tcp://127.0.0.1:0\"\n",
    );
    assert_eq!(
        live_change(&old, new, &BTreeSet::new()).unwrap_err(),
        [
            "`engine.run_dir` has changed: this needs a restart of the engine",
            "`engine.gateway_loops` has changed: this needs a restart of the engine",
            "`engine.ring_memory` has changed: this needs a restart of the engine",
            "`engine.user` has changed: this needs a restart of the engine",
        ]
    );
}

proptest! {
    // What fails is printed, and belongs into a test of its own.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = load_text(&text, Path::new("/a.toml")).map_err(|errors| errors.to_string());
    }

    #[test]
    fn no_mutilated_configuration_panics(cut in 0..SKETCH.len(), insert in "[\\[\\]{}\"'=.,\\-\na-z0-9\t\u{1}é]{0,12}", skip in 0..40usize) {
        let rest = SKETCH.get(cut + skip..).unwrap_or("");
        let text = format!("{}{insert}{rest}", &SKETCH[..cut]);
        let _ = load_text(&text, Path::new("/a.toml")).map_err(|errors| errors.to_string());
    }

    #[test]
    fn no_value_panics(key in prop::sample::select(KEYS), value in "(-?[0-9]{1,25}|\"[0-9]{0,25}(ms|s|h|GiB|KiB|B)?\"|\\[\\]|\\{\\}|true|1e400|[0-9.]{1,6}|0x[0-9a-f]{1,20})") {
        let _ = load_text(&format!("{key} = {value}\n"), Path::new("/a.toml")).map_err(|errors| errors.to_string());
    }
}

/// Headers and keys to put any value behind.
const KEYS: &[&str] = &[
    "app",
    "app.x",
    "listen",
    "engine",
    "engine.ring_memory",
    "engine.gateway_loops",
    "workers.max_wait",
    "workers.count",
    "helpers",
    "[[listen]]\nframing",
    "[[listen]]\naddress = \"tcp://a:1\"\nframing.width",
    "[[listen]]\naddress = \"tcp://a:1\"\nhigh_watermark",
    "[[listen]]\naddress = \"tcp://a:1\"\nframing.kind = \"length\"\nframing.offset",
    "[[listen]]\naddress = \"tcp://a:1\"\nframing.kind = \"delimiter\"\nframing.delimiter",
];

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only whether it can be read matters")]
struct Settings {
    greeting: String,
    limits: Option<Limits>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only whether it can be read matters")]
struct Limits {
    lines: u8,
}

#[test]
fn settings_that_do_not_fit_the_apps_type_are_named_with_their_place() {
    let check = |text: &str| {
        let checked = check_app_text::<Settings>(text, Path::new("/c/a.toml"));
        checked.map_err(|errors| errors.to_string())
    };
    let fine = "[workers]\ncount = 1\n[app]\ngreeting = \"hi\"\n[app.limits]\nlines = 3\n";
    assert_eq!(check(fine), Ok(()));
    // What is wrong elsewhere is told by others.
    assert_eq!(check("[app]\ngreeting = hi\n"), Ok(()));
    assert_eq!(check("app = 1\n"), Ok(()));
    let cases = [
        (
            "[app]\ngreeting = \"hi\"\ngreting = \"ho\"\n",
            "/c/a.toml:3:1: [app]: unknown field `greting`, expected `greeting` or `limits`\n  3 | greting = \"ho\"\n    | ^^^^^^^\n  hint: did you mean `greeting`?",
        ),
        (
            "[app]\ngreeting = \"hi\"\n\n[app.limits]\nlines = 300\n",
            "/c/a.toml:5:9: [app]: invalid value: integer `300`, expected u8\n  5 | lines = 300\n    |         ^^^",
        ),
        (
            "[app]\nlimits = { lines = 3 }\n",
            "/c/a.toml:1:1: [app]: missing field `greeting`\n  1 | [app]\n    | ^^^^^",
        ),
        (
            "[workers]\n",
            "/c/a.toml: [app]: missing field `greeting`\n  hint: write [app] and this key below it",
        ),
    ];
    for (text, told) in cases {
        assert_eq!(check(text), Err(told.to_owned()), "{text}");
    }
}
