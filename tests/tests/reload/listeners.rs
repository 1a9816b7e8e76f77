//! Listeners come and go with a reload, and their sessions stay: only the listening socket closes. A reload applies
//! all of its listeners, or none.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use moorline_tests::{
    Client, Engine, Issuer, Load, PATIENCE, Plan, Process, Site, Troubles, Wire, eventually, kill,
};
use nix::sys::signal::Signal;

const LENGTH: &str = "framing = { kind = \"length\", counts = \"payload\" }";
const LINE: &str = "framing = { kind = \"line\" }";

/// A configuration with these listeners behind the one that is loaded.
fn config(head: &str, listeners: &[(&str, &str, &str)]) -> String {
    let mut text = format!(
        "{head}\n[workers]\ncount = 2\n[[listen]]\nname = \"main\"\naddress = \"tcp://127.0.0.1:0\"\n{LENGTH}\n"
    );
    for (name, address, more) in listeners {
        text.push_str(&format!(
            "[[listen]]\nname = \"{name}\"\naddress = \"{address}\"\n{more}\n"
        ));
    }
    text
}

const ANY: &str = "tcp://127.0.0.1:0";

/// An engine, and sessions that exchange messages with its first listener without a pause.
struct Live {
    engine: Engine,
    load: Load,
}

impl Live {
    fn start(config: &str) -> Live {
        let engine = Engine::start("probe", config);
        let plan = Plan {
            sessions: 40,
            ..Plan::default()
        };
        let load = Load::start(&engine, 0, plan);
        Live { engine, load }
    }

    #[track_caller]
    fn change(&self, config: &str) {
        self.engine.configure(config);
        self.engine.reload().expect_success();
        self.load.progress(2);
    }

    #[track_caller]
    fn refused(&self, config: &str, words: &[&str]) {
        self.engine.configure(config);
        self.engine.reload().expect_refusal(words);
        self.load.progress(2);
    }

    /// Where the listener of this name accepts now.
    fn address(&self, name: &str) -> Option<String> {
        let listeners = self.engine.status().listeners;
        let accepting =
            |row: &&moorline_tests::ListenerStatus| row.name == name && row.state == "accepting";
        listeners
            .iter()
            .find(accepting)
            .map(|row| row.address.clone())
    }

    #[track_caller]
    fn connect(&self, name: &str, wire: Wire) -> Client {
        let address = self.address(name);
        let address = address.unwrap_or_else(|| panic!("{name} does not accept"));
        Client::try_connect(&address, wire).unwrap_or_else(|error| panic!("{address}: {error}"))
    }

    /// Names with states, as `status` shows them.
    fn listeners(&self) -> Vec<String> {
        let listeners = self.engine.status().listeners;
        let shown = listeners
            .iter()
            .map(|row| format!("{} {}", row.name, row.state));
        shown.collect()
    }

    #[track_caller]
    fn finish(self) {
        assert_eq!(self.load.finish().troubles, Troubles::default());
    }
}

#[test]
fn a_listener_is_added_and_removed_and_its_sessions_live_on_until_they_end() {
    let live = Live::start(&config("", &[]));
    let with_extra = config("", &[("extra", ANY, LENGTH)]);
    live.change(&with_extra);
    assert_eq!(live.listeners(), ["main accepting", "extra accepting"]);
    let address = live.address("extra").expect("it accepts");
    let mut old = live.connect("extra", Wire::LENGTH);
    assert_eq!(old.ask("listener"), "extra");
    let id = old.ask("id");

    live.change(&config("", &[]));
    assert_eq!(live.listeners(), ["main accepting", "extra retired"]);
    assert!(Client::try_connect(&address, Wire::LENGTH).is_err());
    assert_eq!(old.ask("id"), id);
    assert_eq!(old.ask("listener"), "extra");
    // Over further reloads and the death of its worker, too.
    live.change(&config("", &[("other", ANY, LENGTH)]));
    assert_eq!(old.ask("listener"), "extra");
    assert_eq!(live.connect("other", Wire::LENGTH).ask("listener"), "other");
    drop(old);
    eventually("its last session has ended", || {
        live.listeners() == ["main accepting", "other accepting"]
    });
    live.change(&with_extra);
    let mut again = live.connect("extra", Wire::LENGTH);
    assert_eq!(again.ask("listener"), "extra");
    live.finish();
}

#[test]
fn with_another_framing_a_listener_goes_on_at_its_address_and_old_sessions_with_the_old_one() {
    let live = Live::start(&config("", &[("side", ANY, LENGTH)]));
    let address = live.address("side").expect("it accepts");
    let mut old = live.connect("side", Wire::LENGTH);
    let id = old.ask("id");
    live.change(&config("", &[("side", ANY, LINE)]));
    assert_eq!(live.address("side"), Some(address.clone()));
    let mut new = live.connect("side", Wire::Line);
    assert_eq!(new.ask("listener"), "side");
    assert_eq!(old.ask("id"), id);
    assert_eq!(old.ask("listener"), "side");
    // Back again, under the same port all the while.
    live.change(&config("", &[("side", ANY, LENGTH)]));
    assert_eq!(live.address("side"), Some(address));
    assert_eq!(new.ask("listener"), "side");
    assert_eq!(old.ask("id"), id);
    assert_eq!(live.connect("side", Wire::LENGTH).ask("build"), "first");
    live.finish();
}

/// A reload turns TLS on at the same address, and off again. Connections from before stay as they are.
#[test]
fn encryption_is_put_on_and_taken_off_at_the_same_address() {
    const HOST: &str = "side.test";
    let issuer = Issuer::new();
    let plain = config("", &[("side", ANY, LENGTH)]);
    let tls = format!("{LENGTH}\ntls = {{ certificate = \"one.pem\", key = \"one.key\" }}");
    let encrypted = config("", &[("side", ANY, &tls)]);
    let live = Live::start(&plain);
    let site = live.engine.site();
    let mut old = live.connect("side", Wire::LENGTH);
    let id = old.ask("id");
    live.refused(&encrypted, &["one.pem"]);
    assert_eq!(live.connect("side", Wire::LENGTH).ask("build"), "first");

    issuer.issue(&[HOST]).write(&site, "one");
    live.change(&encrypted);
    let secure = || Client::connect_tls(&live.engine, 1, Wire::LENGTH, &issuer.trust(), HOST);
    let mut new = secure().expect("it is encrypted");
    assert_eq!(new.ask("listener"), "side");
    assert_eq!(old.ask("id"), id);
    // In the clear it says nothing any more.
    let address = live.engine.address(1);
    let mut clear = Client::try_connect(address, Wire::LENGTH).expect("it accepts");
    clear.send("build");
    let answer = clear.receive_bytes_to_end();
    assert!(!answer.windows(5).any(|window| window == b"first"));

    live.change(&plain);
    assert_eq!(live.connect("side", Wire::LENGTH).ask("build"), "first");
    assert_eq!(new.ask("listener"), "side");
    assert_eq!(old.ask("id"), id);
    live.finish();
}

#[test]
fn another_name_or_order_takes_the_address_over() {
    let unix = "unix://{folder}/side.sock";
    let live = Live::start(&config("", &[("a", unix, LENGTH), ("b", ANY, LENGTH)]));
    let file = live.engine.path("side.sock");
    let mut old = live.connect("a", Wire::LENGTH);
    live.change(&config("", &[("b", ANY, LENGTH), ("c", unix, LINE)]));
    assert_eq!(old.ask("listener"), "a");
    assert_eq!(live.connect("c", Wire::Line).ask("listener"), "c");
    assert_eq!(live.connect("b", Wire::LENGTH).ask("listener"), "b");
    live.change(&config("", &[("b", ANY, LENGTH)]));
    assert!(!file.exists(), "the file of a socket goes with it");
    assert_eq!(old.ask("listener"), "a");
    live.finish();
}

#[test]
fn a_reload_with_one_listener_that_cannot_be_opened_applies_nothing() {
    let present = config("", &[("side", ANY, LENGTH)]);
    let live = Live::start(&present);
    let engine = &live.engine;
    let before = engine.status();
    let side = live.address("side").expect("it accepts");
    let mut client = live.connect("side", Wire::LENGTH);
    let id = client.ask("id");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = taken.local_addr().expect("it has one").port();
    let taken = format!("tcp://127.0.0.1:{port}");
    let file = engine.path("new.sock");
    let new = ("new", "unix://{folder}/new.sock", LENGTH);

    // `side` would go, `new` would come, and one thing is in the way.
    let wanted = config("", &[new, ("taken", &taken, LENGTH)]);
    live.refused(&wanted, &["[[listen]]", &port.to_string()]);
    let fails = format!("{}[app]\nfails_in_slot = 1\n", config("", &[new]));
    live.refused(&fails, &["worker 1", "asked not to start"]);
    let fixed = config("[engine]\nring_memory = \"48MiB\"", &[new]);
    live.refused(&fixed, &["`engine.ring_memory`"]);

    // Neither then nor after a crash, which closes what is in progress: the load ends here.
    assert_eq!(live.load.finish().troubles, Troubles::default());
    for crash in ["nothing", "worker", "gateway"] {
        match crash {
            "worker" => {
                engine.kill_worker(0, Signal::SIGKILL);
                engine.kill_worker(1, Signal::SIGKILL);
                eventually("both are replaced", || {
                    engine.status().worker_pids().len() == 2
                });
            }
            "gateway" => {
                kill(engine.status().gateway.pid, Signal::SIGKILL);
                eventually("there is another gateway", || {
                    engine.settled().gateway.incarnation == 2
                });
                let mut client = Client::try_connect(&side, Wire::LENGTH).expect("it accepts");
                assert_eq!(client.ask("listener"), "side");
                assert!(!file.exists());
                return;
            }
            _ => assert_eq!(engine.settled().worker_pids(), before.worker_pids()),
        }
        let shown: Vec<_> = engine
            .status()
            .listeners
            .iter()
            .map(|row| row.name.clone())
            .collect();
        assert_eq!(shown, ["main", "side"]);
        assert!(!file.exists(), "the new socket is closed again");
        assert_eq!(client.ask("id"), id);
        let mut other = Client::try_connect(&side, Wire::LENGTH).expect("it accepts");
        assert_eq!(other.ask("listener"), "side");
    }
}

#[test]
fn a_gateway_that_dies_after_a_reload_has_a_successor_with_the_new_listeners() {
    let live = Live::start(&config("", &[("old", ANY, LENGTH)]));
    let engine = &live.engine;
    let old = live.address("old").expect("it accepts");
    let mut client = live.connect("old", Wire::LENGTH);
    client.ask("id");
    live.change(&config("", &[("new", ANY, LINE)]));
    assert_eq!(
        live.listeners(),
        ["main accepting", "old retired", "new accepting"]
    );
    assert_eq!(live.load.finish().troubles, Troubles::default());
    kill(engine.status().gateway.pid, Signal::SIGKILL);
    assert_eq!(client.receive_to_end(), Vec::<Vec<u8>>::new());
    eventually("no session of the removed one is left", || {
        let rows = engine.status().listeners;
        rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>() == ["main", "new"]
    });
    let new = engine.status().listeners[1].address.clone();
    let mut client = Client::try_connect(&new, Wire::Line).expect("it accepts");
    assert_eq!(client.ask("listener"), "new");
    assert!(Client::try_connect(&old, Wire::LENGTH).is_err());
    // A worker's successor knows it, too.
    engine.kill_worker(0, Signal::SIGKILL);
    engine.kill_worker(1, Signal::SIGKILL);
    eventually("both are replaced", || {
        engine.status().worker_pids().len() == 2
    });
    let mut client = Client::try_connect(&new, Wire::Line).expect("it accepts");
    assert_eq!(client.ask("listener"), "new");
}

/// More of them, one after another, than fit into one message to the gateway.
#[test]
fn listeners_of_ever_new_names_take_the_places_of_those_that_are_gone() {
    /// Five of these are too much for one message to the gateway.
    const LONG: usize = 26_000;
    let live = Live::start(&config("", &[]));
    let limited = format!("{LENGTH}\nmax_sessions_per_address = 1\naccept_rate = 100");
    let web = "websocket = \"/ws\"\nhandshake_timeout = \"1s\"";
    let kinds = [
        (ANY, limited.as_str(), Wire::LENGTH),
        (ANY, LINE, Wire::Line),
        ("udp://127.0.0.1:0", "", Wire::Raw),
        ("http://127.0.0.1:0", web, Wire::WebSocket),
    ];
    for number in 0..8 {
        let (address, more, wire) = kinds[number / 2 % kinds.len()];
        let name = format!("side-{number}-{}", "x".repeat(LONG));
        live.change(&config("", &[(&name, address, more)]));
        if wire == Wire::Raw {
            let address = live.address(&name).expect("it receives");
            let answer = ask_by_datagram(&address, PATIENCE, b"listener");
            assert_eq!(answer.expect("it answers"), name.as_bytes());
        } else {
            let mut client = live.connect(&name, wire);
            assert_eq!(client.ask("listener"), name);
            let rows = live.engine.run(&["sessions", "--json"]).expect_success();
            assert!(rows.stdout.contains(&name));
            let mut second = (more == web || more == limited).then(|| {
                let address = live.address(&name).expect("it accepts");
                Client::try_connect(&address, Wire::Raw).expect("it accepts")
            });
            if let Some(second) = &mut second {
                // It is refused, or says nothing for too long.
                assert_eq!(second.receive_bytes_to_end(), b"");
            }
            if more == web {
                live.engine.logged(&["handshake_timeout", &name]);
            }
        }
        live.change(&config("", &[]));
        eventually("its last session has ended", || {
            live.listeners() == ["main accepting"]
        });
    }
    live.finish();
}

#[test]
fn the_end_of_a_removed_listeners_last_session_is_logged_once() {
    let one = ("one", ANY, LENGTH);
    let engine = Engine::start("probe", &config("", &[one, ("two", ANY, LENGTH)]));
    let told = |name: &str| {
        let log = engine.log();
        let lines = log.lines().filter(|line| {
            line.contains("the last session of a removed listener has ended") && line.contains(name)
        });
        lines.count()
    };
    engine.configure(&config("", &[("two", ANY, LENGTH)]));
    engine.reload().expect_success();
    eventually("the end is logged", || told("one") == 1);
    // Looked at again with the next one that goes.
    engine.configure(&config("", &[]));
    engine.reload().expect_success();
    eventually("the other end is logged", || told("two") == 1);
    assert_eq!(told("one"), 1);
}

/// What comes back for a datagram, if something does in this time.
fn ask_by_datagram(address: &str, patience: Duration, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(address.split_once("://").map_or("", |(_, peer)| peer))?;
    socket.set_read_timeout(Some(patience))?;
    socket.send(bytes)?;
    let mut answer = vec![0; 65_536];
    let count = socket.recv(&mut answer)?;
    answer.truncate(count);
    Ok(answer)
}

#[test]
fn datagram_listeners_come_and_go_too() {
    let live = Live::start(&config("", &[]));
    let with_pings = config("", &[("pings", "udp://127.0.0.1:0", "")]);
    for _ in 0..2 {
        live.change(&with_pings);
        let address = live.address("pings").expect("it receives");
        let ask = |patience, bytes: &[u8]| ask_by_datagram(&address, patience, bytes).ok();
        assert_eq!(ask(PATIENCE, b"listener"), Some(b"pings".to_vec()));
        assert_eq!(ask(PATIENCE, b"send-to"), Some(b"sent".to_vec()));
        live.change(&config("", &[]));
        assert_eq!(ask(Duration::from_millis(300), b"listener"), None);
    }
    live.finish();
}

/// What a worker sends before its engine serves with it goes out as soon as it does, from whichever loop.
#[test]
fn a_worker_that_starts_can_send_from_a_listener_that_comes_with_it() {
    let live = Live::start(&config("", &[]));
    let heard = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    heard
        .set_read_timeout(Some(PATIENCE))
        .expect("it is not zero");
    let peer = heard.local_addr().expect("it has one");
    let udp = "udp://127.0.0.1:0";
    let mut listeners = Vec::new();
    for name in ["one", "two", "three"] {
        listeners.push((name, udp, ""));
        let with = format!(
            "{}[app]\nstarts_with = [\"{name}\", \"{peer}\"]\n",
            config("", &listeners)
        );
        let fails = format!("{with}fails_in_slot = 1\n");
        live.refused(&fails, &["worker 1", "asked not to start"]);
        live.change(&with);
        let address = live.address(name).expect("it receives");
        let mut bytes = [0; 64];
        for _ in 0..2 {
            let (count, from) = heard.recv_from(&mut bytes).expect("each worker says so");
            assert_eq!(&bytes[..count], b"started");
            assert_eq!(format!("udp://{from}"), address);
        }
    }
    // One that a reload removes is none any more, and never was one's fault.
    live.change(&config("", &[]));
    assert_eq!(live.engine.settled().errors.worker_exits, 0);
    live.finish();
}

/// What fits the first message to a gateway fits the one of a reload, too, which names more beside.
#[test]
fn a_configuration_that_is_as_long_as_can_be_is_applied() {
    let (name, address) = (|number| format!("web-{number}"), "http://127.0.0.1:0");
    let with = |length: usize| {
        let names: Vec<_> = (0..30).map(name).collect();
        let more = "static = \"{folder}\"";
        let listeners: Vec<_> = names.iter().map(|name| (&**name, address, more)).collect();
        let greeting = "x".repeat(length);
        format!(
            "{}[app]\ngreeting = \"{greeting}\"\n",
            config("", &listeners)
        )
    };
    let live = Live::start(&config("", &[]));
    let too_long = 150_000;
    live.engine.configure(&with(too_long));
    let refused = live
        .engine
        .reload()
        .expect_refusal(&["bytes", "restart"])
        .said();
    let numbers = refused
        .split_once('(')
        .and_then(|(_, rest)| rest.split_once(" bytes"));
    let numbers = numbers.and_then(|(numbers, _)| numbers.split_once(" of "));
    let (bytes, most) = numbers.unwrap_or_else(|| panic!("no numbers in {refused}"));
    let number = |text: &str| text.parse::<usize>().expect("a number");
    let longest = too_long - (number(bytes) - number(most));
    live.refused(&with(longest + 1), &["bytes", "restart"]);
    live.change(&with(longest));
    assert!(live.address("web-29").is_some());
    live.finish();
}

#[test]
fn an_engine_with_a_longer_one_does_not_start_and_says_so() {
    let greeting = "x".repeat(150_000);
    let config = format!("{}[app]\ngreeting = \"{greeting}\"\n", config("", &[]));
    let refused = Site::new("probe", &config).try_start().err();
    refused
        .expect("it must not start")
        .expect_refusal(&["bytes"]);
}

/// One request over a connection that stays; the answer's body.
fn get(stream: &mut TcpStream, path: &str) -> String {
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
        .expect("it takes a request");
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let count = stream.read(&mut chunk).expect("an answer comes");
        text.extend_from_slice(&chunk[..count]);
        let said = String::from_utf8_lossy(&text).into_owned();
        let Some((head, body)) = said.split_once("\r\n\r\n") else {
            assert_ne!(count, 0, "{said}");
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.parse().ok())?
        });
        if body.len() >= length.unwrap_or(0) {
            return body.to_owned();
        }
    }
}

#[test]
fn folders_and_paths_of_http_follow_a_reload_over_connections_that_are_there() {
    let web = |more: &str| config("", &[("web", "http://127.0.0.1:0", more)]);
    let site = Site::new("probe", &web("static = \"{folder}/one\""));
    site.write("one/page.txt", "one");
    site.write("two/page.txt", "two");
    let engine = site.start();
    let load = Load::start(
        &engine,
        0,
        Plan {
            sessions: 20,
            ..Plan::default()
        },
    );
    let live = Live { engine, load };
    let address = live.address("web").expect("it accepts");
    let mut browser =
        TcpStream::connect(address.trim_start_matches("http://").trim_end_matches('/'))
            .expect("it accepts");
    assert_eq!(get(&mut browser, "/page.txt"), "one");
    live.change(&web("static = \"{folder}/two\""));
    assert_eq!(get(&mut browser, "/page.txt"), "two");
    // What is behind a path is opened anew, too.
    std::fs::rename(live.engine.path("two"), live.engine.path("three")).expect("it can be moved");
    live.engine.site().write("two/page.txt", "four");
    assert_eq!(get(&mut browser, "/page.txt"), "two");
    live.change(&web("static = \"{folder}/two\""));
    assert_eq!(get(&mut browser, "/page.txt"), "four");
    live.refused(
        &web("static = \"{folder}/nowhere\""),
        &["static", "nowhere"],
    );
    assert_eq!(get(&mut browser, "/page.txt"), "four");

    // The next request is answered by the new routes, also over the connection that is there.
    live.change(&web("websocket = \"/ws\""));
    assert_eq!(get(&mut browser, "/page.txt"), "not found");
    let mut session = live.connect("web", Wire::WebSocket);
    assert_eq!(session.ask("listener"), "web");
    live.change(&web("websocket = \"/elsewhere\"\nmax_message = \"1MiB\""));
    assert_eq!(session.ask("listener"), "web");
    let new = live.address("web").expect("it accepts");
    assert_eq!(new, address);
    let mut other = Client::try_connect(&new, Wire::Raw).expect("it accepts");
    let answer = other.shake_hands("/elsewhere").expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    live.finish();
}

#[test]
fn files_of_a_removed_listener_are_released_with_its_last_connection() {
    let web = ("web", "http://127.0.0.1:0", "static = \"{folder}/pages\"");
    let site = Site::new("probe", &config("", &[web]));
    site.write("pages/page.txt", "one");
    let engine = site.start();
    let (gateway, pages) = (engine.status().gateway.pid, engine.path("pages"));
    let mut browser = TcpStream::connect(engine.socket_address(1)).expect("it accepts");
    assert_eq!(get(&mut browser, "/page.txt"), "one");
    engine.configure(&config("", &[]));
    engine.reload().expect_success();
    assert_eq!(get(&mut browser, "/page.txt"), "one");
    assert!(Process::holds(gateway, &pages));
    drop(browser);
    eventually("it is let go of", || !Process::holds(gateway, &pages));
}

#[test]
fn a_file_that_another_process_has_put_in_place_of_a_socket_stays() {
    let door = ("door", "unix://{folder}/door.sock", "");
    let live = Live::start(&config("", &[door]));
    let path = live.engine.site().path("door.sock");
    std::fs::remove_file(&path).expect("it is there");
    // The same configuration: it is made again.
    live.change(&config("", &[door]));
    assert!(UnixStream::connect(&path).is_ok());
    std::fs::remove_file(&path).expect("it is there again");
    let other = UnixListener::bind(&path).expect("the path is free");
    live.change(&config("", &[]));
    assert!(UnixStream::connect(&path).is_ok());
    drop(other);
    live.finish();
}
