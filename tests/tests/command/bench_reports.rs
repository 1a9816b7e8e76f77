//! What the load generator leaves: pages for browsers, and files to compare.

use std::fs;

use moorline_tests::{Browser, Engine, Finish, Finished, LENGTH_LISTENER, Tab};
use serde_json::{Value, json};

/// Runs `bench` in the engine's folder.
fn bench(engine: &Engine, arguments: &[&str]) -> Finished {
    let mut command = engine.command(&["bench"]);
    command
        .args(arguments)
        .current_dir(engine.path(""))
        .finish()
}

/// A run of the echo with a page and a file of this name.
#[track_caller]
fn save(engine: &Engine, name: &str, more: &[&str]) {
    let (page, file) = (format!("{name}.html"), format!("{name}.json"));
    let arguments = [
        "echo",
        engine.address(0),
        "--connections",
        "8",
        "--duration",
        "1s",
        "--warm-up",
        "10ms",
        "--report",
        &page,
        "--save",
        &file,
    ];
    bench(engine, &[&arguments[..], more].concat()).expect_success();
}

fn read(engine: &Engine, name: &str) -> Value {
    let text = fs::read_to_string(engine.path(name)).expect("it was written");
    serde_json::from_str(&text).expect("it is JSON")
}

#[test]
fn two_runs_are_saved_and_compared() {
    let engine = Engine::start("echo", LENGTH_LISTENER);
    save(&engine, "a", &["--rate", "500"]);
    save(&engine, "b", &["--size", "1KiB"]);
    let (a, b) = (read(&engine, "a.json"), read(&engine, "b.json"));
    assert_eq!(a["format"], "moorline-bench");
    assert_eq!(a["version"], 1);
    assert!(a["machine"]["cpus"].as_u64() > Some(0), "{a}");
    let command = a["command"].as_str().expect("a text");
    assert!(command.contains("--rate 500"), "{command}");
    let counted = |of: &Value| -> u64 {
        let values = of["latency_ns"].as_array().expect("a list").iter();
        values.map(|pair| pair[1].as_u64().expect("a count")).sum()
    };
    assert!(counted(&a) >= a["results"]["requests"].as_u64().expect("a count"));
    assert_eq!(Some(counted(&b)), b["results"]["requests"].as_u64());

    let said = bench(&engine, &["compare", "a.json", "b.json"]).expect_success();
    let rows: Vec<&str> = said.stdout.lines().map(str::trim).collect();
    for name in [
        "requests a second",
        "median of the intervals",
        "p50",
        "p99.9",
    ] {
        assert!(
            rows.iter().any(|row| row.starts_with(name)),
            "{name}: {rows:#?}"
        );
    }
    assert!(said.stdout.contains("size: 128, 1024"), "{said:#?}");
    assert!(said.stdout.contains("rate: 500/s, none"), "{said:#?}");
    let same = bench(&engine, &["compare", "b.json", "b.json"]).expect_success();
    assert!(!same.stdout.contains("not alike"), "{same:#?}");
    assert!(same.stdout.contains("1.00"), "{same:#?}");
}

#[test]
fn what_is_no_saved_run_is_refused_with_its_reason() {
    let engine = Engine::start("echo", LENGTH_LISTENER);
    save(&engine, "run", &["--rate", "100"]);
    let idle = [
        "idle",
        engine.address(0),
        "--duration",
        "10ms",
        "--warm-up",
        "10ms",
        "--save",
        "idle.json",
    ];
    bench(&engine, &idle).expect_success();
    let run = read(&engine, "run.json");
    let mut newer = run.clone();
    newer["version"] = json!(2);
    let mut odd = run.clone();
    odd["latency_ns"] = json!([[5, 1], [4, 1]]);
    engine.write("newer.json", newer.to_string());
    engine.write("odd.json", odd.to_string());
    engine.write("printed.json", run["results"].to_string());
    engine.write("other.json", "{}");
    engine.write("cut.json", &run.to_string()[..200]);
    engine.write("deep.json", "[".repeat(100_000));
    engine.write("large.json", " ".repeat((8 << 20) + 1));
    for (name, words) in [
        (
            "newer.json",
            "its version is 2, and this program reads version 1",
        ),
        ("odd.json", "do not rise"),
        ("printed.json", "--save writes the histogram"),
        ("other.json", "\"format\": \"moorline-bench\""),
        ("cut.json", "EOF"),
        ("deep.json", "recursion"),
        ("large.json", "larger than 8 MiB"),
        ("nowhere.json", "cannot be read"),
        ("idle.json", "idle sessions"),
    ] {
        let said = bench(&engine, &["compare", "run.json", name]);
        assert_eq!(said.status.code(), Some(1), "{said:#?}");
        let file = if name == "idle.json" { words } else { name };
        said.expect_refusal(&[words, file]);
    }
    // Before the load, not after it.
    for option in ["--save", "--report"] {
        let nowhere = ["echo", engine.address(0), option, "nowhere/file"];
        let said = bench(&engine, &nowhere);
        said.expect_refusal(&["nowhere/file cannot be written"]);
    }
    let rest = fs::read_dir(engine.path("")).expect("the site's folder");
    let left = rest
        .flatten()
        .filter(|file| file.file_name().to_string_lossy().ends_with(".part"));
    assert_eq!(left.count(), 0);
}

const DESK: [u32; 2] = [1100, 1500];
const PHONE: [u32; 2] = [360, 740];

/// Opens a page of the engine's folder.
fn open(browser: &mut Browser, engine: &Engine, name: &str) -> Tab {
    let tab = browser.open(&format!("file://{}", engine.path(name).display()));
    moorline_tests::eventually("the page is there", || {
        browser.evaluate(&tab, "document.readyState") == "complete"
            && !browser.text(&tab, "h1").is_empty()
    });
    tab
}

#[test]
fn the_pages_can_be_seen_and_read_and_load_nothing() {
    let engine = Engine::start("echo", LENGTH_LISTENER);
    save(&engine, "run", &["--rate", "2000"]);
    save(&engine, "other", &["--rate", "2000", "--framing", "length"]);
    let arguments = ["compare", "run.json", "other.json", "--report", "both.html"];
    bench(&engine, &arguments).expect_success();
    let mut browser = Browser::start();
    for (name, charts) in [("run", 4), ("both", 4)] {
        let tab = open(&mut browser, &engine, &format!("{name}.html"));
        for (size, scheme, sight) in [
            (DESK, "light", "none"),
            (DESK, "dark", "none"),
            (PHONE, "light", "none"),
            (PHONE, "dark", "none"),
            (DESK, "light", "deuteranopia"),
            (DESK, "light", "achromatopsia"),
        ] {
            browser.look_like(&tab, size, scheme, sight);
            let picture = format!("bench-{name}-{}-{scheme}-{sight}", size[0]);
            browser.picture(&tab, env!("CARGO_TARGET_TMPDIR"), &picture);
        }
        // Each chart says what it shows, and has a table.
        let is_told = "[...document.querySelectorAll('section figure')].filter((it) =>
            it.querySelector('svg[role=img]').getAttribute('aria-label').length > 40
            && it.parentElement.querySelectorAll('details tbody tr').length > 2
            && it.querySelectorAll('rect, polyline').length > 0).length";
        assert_eq!(browser.evaluate(&tab, is_told), charts, "{name}");
        assert_eq!(
            browser.evaluate(&tab, "document.querySelectorAll('figure').length"),
            charts
        );
        // Open, the tables fit too.
        browser.look_like(&tab, PHONE, "light", "none");
        browser.evaluate(
            &tab,
            "document.querySelectorAll('details').forEach((it) => { it.open = true; })",
        );
        browser.picture(
            &tab,
            env!("CARGO_TARGET_TMPDIR"),
            &format!("bench-{name}-open"),
        );
        let loaded = browser.evaluate(&tab, "performance.getEntriesByType('resource').length");
        assert_eq!(loaded, 0, "{name}");
    }
    let tab = open(&mut browser, &engine, "run.html");
    let text = browser.text(&tab, "body");
    for words in [
        "requests a second",
        "asked for 2,000",
        "99.9 % within",
        "bench echo tcp://",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}
