//! `[admin]`: the page and metrics.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use moorline_tests::{
    Browser, Client, Engine, LENGTH_LISTENER, Outsider, PeerServer, Wire, eventually,
};
use nix::sys::signal::Signal;

fn watched(more: &str) -> Engine {
    let config =
        format!("{LENGTH_LISTENER}[workers]\ncount = 1\n[admin]\nlisten = \"127.0.0.1:0\"\n{more}");
    Engine::start("probe", &config)
}

/// Where the newest one of the processes that serve `[admin]` listens.
pub(crate) fn address(engine: &Engine) -> SocketAddr {
    engine.logged(&["serves http://"]);
    let log = engine.site().log();
    let mut lines = log
        .lines()
        .filter_map(|line| line.split_once("serves http://"));
    let (_, last) = lines.next_back().expect("there is a line");
    let address: String = last.chars().take_while(|c| *c != '/').collect();
    address.parse().expect("an address")
}

pub(crate) fn ask(to: SocketAddr, request: &str, body: &str) -> String {
    try_ask(to, request, body).expect("an answer")
}

fn try_ask(to: SocketAddr, request: &str, body: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(to).expect("it listens");
    let patience = Some(Duration::from_secs(60));
    stream.set_read_timeout(patience).expect("a time");
    let head = request.replace('\n', "\r\n");
    write!(stream, "{head}\r\nConnection: close\r\n\r\n{body}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

pub(crate) fn get(to: SocketAddr, path: &str) -> String {
    ask(to, &format!("GET {path} HTTP/1.1\nHost: {to}"), "")
}

/// The number of a series.
fn number(metrics: &str, series: &str) -> Option<f64> {
    let mut lines = metrics.lines().filter_map(|line| line.split_once(series));
    let (_, rest) = lines.find(|(before, rest)| before.is_empty() && rest.starts_with(' '))?;
    rest.trim().parse().ok()
}

#[test]
fn metrics_have_what_status_has() {
    let engine = watched("");
    let admin = address(&engine);
    let mut clients = [0, 1].map(|_| Client::connect(&engine, 0, Wire::LENGTH));
    for client in &mut clients {
        client.ask("pid");
        client.ask("pid");
    }
    let shown = |series: &str| number(&get(admin, "/metrics"), series);
    eventually("four messages are shown", || {
        shown("moorline_messages_handled_total") >= Some(4.0)
    });
    let metrics = get(admin, "/metrics");
    assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n"), "{metrics}");
    assert!(metrics.contains("text/plain; version=0.0.4"), "{metrics}");
    for (series, expected) in [
        ("moorline_sessions", 2.0),
        ("moorline_sessions_accepted_total", 2.0),
        ("moorline_gateway_up", 1.0),
        ("moorline_reloads_total{result=\"done\"}", 0.0),
        ("moorline_message_wait_seconds_count", 4.0),
        ("moorline_message_wait_seconds_bucket{le=\"+Inf\"}", 4.0),
        ("moorline_worker_sessions{slot=\"0\"}", 2.0),
        ("moorline_workers{state=\"ready\"}", 1.0),
    ] {
        assert_eq!(
            number(&metrics, series),
            Some(expected),
            "{series}\n{metrics}"
        );
    }
    drop(clients);
    let reason = "moorline_sessions_closed_total{reason=\"peer\"}";
    eventually("both are closed", || shown(reason) == Some(2.0));
    engine.reload().expect_success();
    let done = "moorline_reloads_total{result=\"done\"}";
    eventually("the reload counts", || shown(done) == Some(1.0));
    let status = get(admin, "/status.json");
    assert!(status.contains("\"handled\":"), "{status}");
}

/// What is counted of each listener.
const OF_LISTENERS: [&str; 6] = [
    "sessions",
    "accepted_total",
    "refused_total",
    "messages_total",
    "received_bytes_total",
    "sent_bytes_total",
];

#[test]
fn each_listener_counts_what_is_its_own() {
    let peer = PeerServer::echo();
    let engine = watched(&format!(
        "[[listen]]\nname = \"small\"\naddress = \"tcp://127.0.0.1:0\"\nframing = {{ kind = \"line\" }}\nmax_sessions = 2\n\
         [[listen]]\nname = \"relay\"\naddress = \"tcp://127.0.0.1:0\"\nupstream = \"one\"\n[upstream.one]\npeers = [\"tcp://{}\"]\n",
        peer.address
    ));
    let admin = address(&engine);
    let counts = |listener: &str| {
        let metrics = get(admin, "/metrics");
        let of = |metric: &str| {
            let series = format!("moorline_listener_{metric}{{listener=\"{listener}\"}}");
            number(&metrics, &series).unwrap_or_else(|| panic!("{series}: {metrics}"))
        };
        OF_LISTENERS.map(of)
    };
    let mut clients = [0, 1].map(|_| Client::connect(&engine, 1, Wire::Line));
    let answers: usize = clients
        .iter_mut()
        .map(|client| client.ask("pid").len() + 1)
        .sum();
    assert!(
        Client::connect(&engine, 1, Wire::Line)
            .receive_to_end()
            .is_empty()
    );
    let sent = answers as f64;
    eventually("the two and the refused one are counted", || {
        counts("small") == [2.0, 2.0, 1.0, 2.0, 8.0, sent]
    });
    let mut relayed = TcpStream::connect(engine.socket_address(2)).expect("it listens");
    let mut back = [0; 4];
    relayed.write_all(b"ahoy").expect("it is taken");
    relayed.read_exact(&mut back).expect("it comes back");
    eventually("the relayed bytes are counted", || {
        counts("relay") == [1.0, 1.0, 0.0, 0.0, 4.0, 4.0]
    });
    drop((clients, relayed));
    eventually("all have left", || {
        counts("small")[0] + counts("relay")[0] == 0.0
    });
    moorline_tests::kill(engine.status().gateway.pid, Signal::SIGKILL);
    engine.logged(&["the gateway (pid", "incarnation=2"]);
    eventually("what the dead gateway has counted stays", || {
        counts("small") == [0.0, 2.0, 1.0, 2.0, 8.0, sent]
            && counts("relay") == [0.0, 1.0, 0.0, 0.0, 4.0, 4.0]
    });
    assert!(
        engine
            .site()
            .run(&["status"])
            .expect_success()
            .stdout
            .contains("  0 sessions, 2 accepted, 1 refused, 2 messages, 8 B received")
    );
}

#[test]
fn what_is_asked_otherwise_is_refused() {
    let engine = watched("hosts = [\"server.example\"]\n");
    let admin = address(&engine);
    let text = "Accept: application/openmetrics-text; version=1.0.0";
    for (request, expected, part) in [
        (
            "GET /metrics HTTP/1.1\nHost: server.example:80",
            "200 OK",
            "# TYPE",
        ),
        (
            &format!("GET /metrics HTTP/1.1\nHost: [::1]:1\n{text}"),
            "200 OK",
            "\n# EOF\n",
        ),
        (
            "HEAD /metrics HTTP/1.1\nHost: localhost",
            "200 OK",
            "content-length",
        ),
        (
            "GET / HTTP/1.1\nHost: LOCALHOST:9",
            "200 OK",
            "<title>Moorline",
        ),
        (
            "GET /metrics HTTP/1.1\nHost: evil.example",
            "421 ",
            "`hosts` of [admin]",
        ),
        ("GET /metrics HTTP/1.1\nX: y", "421 ", ""),
        (
            "POST /metrics HTTP/1.1\nHost: localhost",
            "405 ",
            "allow: GET, HEAD",
        ),
        (
            "GET /../etc HTTP/1.1\nHost: localhost",
            "404 ",
            "there are /,",
        ),
    ] {
        let answer = ask(admin, request, "");
        let status = format!("HTTP/1.1 {expected}");
        assert!(
            answer.starts_with(&status) && answer.contains(part),
            "{request}: {answer}"
        );
    }
    let long = format!("GET /{} HTTP/1.1\nHost: localhost", "x".repeat(100_000));
    // It may be refused, and closed, before all of it is written.
    assert!(!try_ask(admin, &long, "").is_ok_and(|answer| answer.contains(" 200 ")));
    assert!(get(admin, "/").starts_with("HTTP/1.1 200 "));
}

#[test]
fn connections_that_ask_nothing_do_not_keep_others_out() {
    let engine = watched("");
    let admin = address(&engine);
    let idle: Vec<_> = (0..80)
        .map(|_| TcpStream::connect(admin).expect("it is accepted or waits"))
        .collect();
    assert!(get(admin, "/metrics").contains("moorline_info"));
    drop(idle);
}

#[test]
fn a_client_that_leaves_before_its_answer_leaves_none_for_the_next() {
    let engine = watched("");
    let admin = address(&engine);
    let _client = Client::connect(&engine, 0, Wire::LENGTH);
    let sessions = || number(&get(admin, "/metrics"), "moorline_sessions");
    eventually("the session is shown", || sessions() == Some(1.0));
    // Long enough for the last answer to be old.
    let pause = || std::thread::sleep(Duration::from_millis(300));
    pause();
    moorline_tests::kill(engine.supervisor(), Signal::SIGSTOP);
    let mut leaving = TcpStream::connect(admin).expect("it listens");
    write!(leaving, "GET /metrics HTTP/1.1\r\nHost: {admin}\r\n\r\n").expect("it is taken");
    pause();
    drop(leaving);
    pause();
    moorline_tests::kill(engine.supervisor(), Signal::SIGCONT);
    // Each of them asks the engine.
    for _ in 0..4 {
        pause();
        assert_eq!(sessions(), Some(1.0));
    }
}

#[test]
fn it_is_started_again_and_moved_and_no_session_notices() {
    let engine = watched("");
    let first = address(&engine);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.ask("pid");
    let helper = || engine.status().helpers.first().and_then(|it| it.pid);
    let pid = helper().expect("it runs");
    moorline_tests::kill(pid, Signal::SIGKILL);
    eventually("it listens again", || {
        address(&engine) != first && TcpStream::connect(address(&engine)).is_ok()
    });
    assert!(
        get(address(&engine), "/metrics")
            .contains("moorline_helper_restarts{helper=\"admin\"} 1\n")
    );
    // Without the table there is none, after a reload.
    let second = address(&engine);
    engine.site().configure(LENGTH_LISTENER);
    engine.reload().expect_success();
    eventually("it is gone", || TcpStream::connect(second).is_err());
    client.ask("pid");
}

#[test]
fn an_address_that_is_taken_is_told_and_the_engine_serves() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let config = format!("{LENGTH_LISTENER}[admin]\nlisten = \"{address}\"\n");
    let engine = Engine::start("probe", &config);
    engine.logged(&["helper=\"admin\"", "cannot listen on", "in use"]);
    Client::connect(&engine, 0, Wire::LENGTH).ask("pid");
}

#[test]
fn the_page_shows_what_happens() {
    let engine = watched("");
    let admin = address(&engine);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.ask("pid");
    let mut browser = Browser::start();
    let tab = browser.open(&format!("http://{admin}/"));
    // Without spaces and line ends, which are between cells.
    let shown = |browser: &mut Browser, part: &str| {
        let text = browser.text(&tab, part);
        text.split_whitespace().collect::<String>()
    };
    eventually("it is healthy", || {
        shown(&mut browser, "#state") == "healthy"
    });
    eventually("it has a session", || {
        shown(&mut browser, "#cards").contains("sessions1begun:1")
    });
    assert!(shown(&mut browser, "#processes").contains("worker0"));
    let before = engine.worker(0).pid;
    engine.kill_worker(0, Signal::SIGKILL);
    eventually("the new worker is there", || {
        let after = engine.worker(0).pid;
        after != before
            && browser
                .text(&tab, "#processes")
                .contains(&after.to_string())
    });
    eventually("the crash is counted", || {
        shown(&mut browser, "#lost").contains("workerexits1")
    });
    browser.be_a_dark_phone(&tab, 360);
    let is_wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth";
    assert_eq!(browser.evaluate(&tab, is_wide), false);
}

#[test]
fn recordings_of_crashes_are_served_and_shown() {
    let engine = watched("");
    let admin = address(&engine);
    let none = get(admin, "/flight.json");
    assert!(none.ends_with("\r\n\r\n[]"), "{none}");
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    let pid = engine.kill_worker(0, Signal::SIGKILL);
    let what = format!("worker 0 (pid {pid}) was killed by SIGKILL");
    eventually("it is listed", || {
        get(admin, "/flight.json").contains(&what)
    });
    let listed = get(admin, "/flight.json");
    let (_, body) = listed.split_once("\r\n\r\n").expect("there is a body");
    let listed: serde_json::Value = serde_json::from_str(body).expect("it is JSON");
    let file = listed[0]["file"].as_str().expect("it has a name");
    let shown = get(admin, &format!("/flight.json?file={file}"));
    assert!(
        shown.contains(&format!("session {id} opened on")),
        "{shown}"
    );
    for other in ["nothing.flight", "../lock", "..%2flock", ""] {
        let refused = get(admin, &format!("/flight.json?file={other}"));
        assert!(refused.starts_with("HTTP/1.1 404 "), "{other}: {refused}");
    }

    let mut browser = Browser::start();
    let tab = browser.open(&format!("http://{admin}/"));
    eventually("the page lists it", || {
        browser.text(&tab, "#recording-list").contains(&what)
    });
    browser.click(&tab, "#recording-list summary");
    eventually("the page shows its events", || {
        let text = browser.text(&tab, "#recording-list");
        text.contains(&format!("session {id} begins")) && text.contains("gateway loop 0")
    });
}

/// Prometheus, which reads the metrics of this engine each second, with the alerts that come with Moorline.
fn prometheus(engine: &Engine) -> Outsider {
    let alerts = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../contrib/prometheus/alerts.yml"
    );
    let config = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [{alerts}]\n\
         scrape_configs: [{{ job_name: moorline, static_configs: [{{ targets: [\"{}\"] }}] }}]\n",
        address(engine)
    );
    let arguments = [
        "--web.listen-address=127.0.0.1:PORT0",
        "--storage.tsdb.path=FOLDERprometheus",
        "--log.level=error",
        "--config.file=",
    ];
    Outsider::start(&engine.site(), "prometheus", &arguments, &config, 1)
}

#[test]
fn prometheus_reads_the_metrics_and_alerts() {
    let engine = watched("");
    let prometheus = prometheus(&engine);
    let to = SocketAddr::from(([127, 0, 0, 1], prometheus.ports[0]));
    let query = |what: &str| get(to, &format!("/api/v1/query?query={what}"));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.ask("pid");
    eventually("it has the session", || {
        let found = query("moorline_sessions");
        found.contains("\"value\":[") && found.contains(",\"1\"]")
    });
    assert!(get(to, "/api/v1/targets").contains("\"lastError\":\"\""));
    let rules = get(to, "/api/v1/rules");
    assert!(
        rules.contains("MoorlineWorkersCrash") && !rules.contains("\"health\":\"err\""),
        "{rules}"
    );
    engine.kill_worker(0, Signal::SIGKILL);
    eventually("it alerts", || {
        query("ALERTS").contains("MoorlineWorkersCrash")
    });
}

/// The expressions of the dashboard, with the variables of Grafana filled in.
fn expressions() -> Vec<String> {
    let dashboard = include_str!("../../../contrib/grafana/moorline.json");
    let dashboard: serde_json::Value = serde_json::from_str(dashboard).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array());
    let expressions = targets.flatten().filter_map(|it| it["expr"].as_str());
    let expressions = expressions.map(|it| {
        it.replace("$__rate_interval", "15s")
            .replace("$__range", "60s")
            .replace("$instance", ".*")
    });
    expressions.collect()
}

#[test]
fn every_panel_of_the_dashboard_shows_something() {
    let peer = PeerServer::echo();
    let engine = watched(&format!(
        "[[listen]]\nname = \"relay\"\naddress = \"tcp://127.0.0.1:0\"\nupstream = \"one\"\n[upstream.one]\npeers = [\"tcp://{}\"]\n",
        peer.address
    ));
    let prometheus = prometheus(&engine);
    let to = SocketAddr::from(([127, 0, 0, 1], prometheus.ports[0]));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let expressions = expressions();
    assert!(expressions.len() > 30, "{expressions:?}");
    for expression in expressions {
        let escaped: String = expression.bytes().map(|it| format!("%{it:02x}")).collect();
        let mut answer = String::new();
        eventually(&expression, || {
            client.ask("pid");
            answer = get(to, &format!("/api/v1/query?query={escaped}"));
            assert!(!answer.contains("bad_data"), "{expression}: {answer}");
            answer.contains("\"value\":[") && !answer.contains("\"NaN\"")
        });
    }
}
