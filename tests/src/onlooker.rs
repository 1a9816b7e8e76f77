//! Everything that shows what is wrong with an engine: `status`, `top`, the page's data, and the alerts in Prometheus.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Engine, Outsider, Stopwatch, eventually};

/// How long anything may take to name what is wrong.
const NAMED_WITHIN: Duration = Duration::from_secs(15);

/// Looks at one engine, whose configuration has [`ADMIN`](Self::ADMIN).
pub struct Onlooker<'a> {
    engine: &'a Engine,
    admin: SocketAddr,
    prometheus: Outsider,
}

impl<'a> Onlooker<'a> {
    /// What a configuration needs for the page and metrics.
    pub const ADMIN: &'static str = "[admin]\nlisten = \"127.0.0.1:0\"\n";

    /// Begins to read the metrics each second, with the alerts that come with Moorline.
    pub fn new(engine: &'a Engine) -> Self {
        let admin = Self::admin(engine);
        let alerts = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../contrib/prometheus/alerts.yml"
        );
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [{alerts}]\n\
             scrape_configs: [{{ job_name: moorline, static_configs: [{{ targets: [\"{admin}\"] }}] }}]\n"
        );
        let arguments = [
            "--web.listen-address=127.0.0.1:PORT0",
            "--storage.tsdb.path=FOLDERprometheus",
            "--log.level=error",
            "--config.file=",
        ];
        let site = engine.site();
        let prometheus = Outsider::start(&site, "prometheus", &arguments, &config, 1);
        let onlooker = Self {
            engine,
            admin,
            prometheus,
        };
        // A counter that rises before it was read does not rise for Prometheus.
        eventually("the metrics are read", || {
            onlooker.query("moorline_info").contains("\"value\":[")
        });
        assert_eq!(onlooker.findings(), Vec::<Value>::new(), "it is healthy");
        onlooker
    }

    /// Where the first of the processes that serve `[admin]` listens.
    pub fn admin(engine: &Engine) -> SocketAddr {
        let line = engine.logged(&["serves http://"]);
        let (_, rest) = line
            .split_once("serves http://")
            .expect("it was found by it");
        let address: String = rest.chars().take_while(|c| *c != '/').collect();
        address.parse().expect("an address")
    }

    /// Waits until everything names this, and fails if that takes longer than 15 seconds: `kind` as in JSON, and a part of the
    /// sentence about it.
    #[track_caller]
    pub fn sees(&self, kind: &str, part: &str) {
        let since = Stopwatch::start();
        let is_it = |it: &Value| {
            let has_remedy = it["remedy"].as_str().is_some_and(|it| !it.is_empty());
            let what = it["what"].as_str().unwrap_or_default();
            it["kind"] == kind && what.contains(part) && has_remedy
        };
        eventually(&format!("{kind} is among the findings"), || {
            self.findings().iter().any(is_it)
        });
        eventually("`status` says it", || {
            let said = self.engine.run(&["status"]).stdout;
            !said.starts_with("healthy") && said.contains(part) && said.contains("to do: ")
        });
        eventually("`top --once` says it", || {
            let finished = self.engine.run(&["top", "--once"]);
            finished.status.code() == Some(1) && finished.stdout.contains(part)
        });
        let words = kind.split('-').map(|word| {
            let (first, rest) = word.split_at(1);
            first.to_uppercase() + rest
        });
        let alert = format!("Moorline{}", words.collect::<String>());
        let query = format!("ALERTS%7Balertname=%22{alert}%22,alertstate=%22firing%22%7D");
        eventually(&format!("{alert} fires"), || {
            self.query(&query).contains(&alert)
        });
        let took = since.elapsed();
        println!("{kind} is named everywhere after {took:.1?}");
        assert!(took < NAMED_WITHIN, "{kind} is named only after {took:?}");
    }

    /// Fails if anything names something, now and at any time within `time`.
    #[track_caller]
    pub fn sees_nothing_for(&self, time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            assert_eq!(self.findings(), Vec::<Value>::new());
            thread::sleep(Duration::from_millis(250));
        }
        let said = self.engine.run(&["status"]).expect_success().stdout;
        assert!(said.starts_with("healthy\n"), "{said}");
        self.engine.run(&["top", "--once"]).expect_success();
        let alerts = self.query("max_over_time(ALERTS[1h])");
        assert!(alerts.contains("\"result\":[]"), "{alerts}");
    }

    /// What the page shows as wrong.
    fn findings(&self) -> Vec<Value> {
        let answer = get(self.admin, "/status.json");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status: Value = serde_json::from_str(body).expect("JSON");
        status["findings"].as_array().expect("a list").clone()
    }

    fn query(&self, what: &str) -> String {
        let prometheus = SocketAddr::from(([127, 0, 0, 1], self.prometheus.ports[0]));
        get(prometheus, &format!("/api/v1/query?query={what}"))
    }
}

fn get(to: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(to).expect("it listens");
    let patience = Some(Duration::from_secs(60));
    stream.set_read_timeout(patience).expect("a time");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    answer
}
