//! The pages that answer one question each: their samples run.

use std::process::Command;

use moorline_tests::{Client, Finish, Site, Wire};

use super::blocks::{blocks, docs, file};

#[test]
fn a_websocket_is_authenticated_as_the_page_says() {
    let page = "howto/authenticate.md";
    let site = Site::new(
        "moorline",
        &file(page, "moorline.toml").replace(":8080", ":0"),
    );
    site.write("main.lua", file(page, "main.lua"));
    let engine = site.start();
    let shake = |headers: &str| {
        Client::connect_websocket(&engine, 0, "/ws", headers).expect("it is answered")
    };
    let (_, head) = shake("");
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    let (_, head) = shake("Cookie: login=guess\r\n");
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    let (mut client, head) = shake("Cookie: login=secret\r\n");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(client.ask("hello"), "you said hello");
    let sessions = site.run(&["sessions"]).expect_success().stdout;
    assert!(sessions.contains("ann"), "{sessions}");
}

#[test]
fn the_certificate_of_the_page_is_served() {
    let page = "howto/tls.md";
    let site = Site::new(
        "moorline",
        &file(page, "moorline.toml").replace(":8443", ":0"),
    );
    site.write("public/index.html", "hello over TLS\n");
    let blocks = blocks(&docs().join(page));
    let openssl = blocks
        .iter()
        .find(|block| block.text.starts_with("openssl req"));
    let openssl = &openssl.expect("the page makes a certificate").text;
    let mut shell = Command::new("sh");
    let shell = shell.args(["-ec", openssl]).current_dir(site.path(""));
    shell.finish().expect_success();
    let engine = site.start();
    let port = engine.socket_address(0).port();
    let mut curl = Command::new("curl");
    let curl = curl
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "30",
            "--cacert",
            "cert.pem",
        ])
        .args(["--connect-to", &format!("localhost:443:127.0.0.1:{port}")])
        .arg("https://localhost/")
        .current_dir(site.path(""));
    assert_eq!(curl.finish().expect_success().stdout, "hello over TLS\n");
}

#[test]
fn the_script_of_the_page_about_lua_runs() {
    let site = Site::new("moorline", "");
    site.write("main.lua", file("howto/lua.md", "main.lua"));
    let finished = site.command(&["run", "main.lua"]).finish();
    assert_eq!(
        finished.expect_success().stdout,
        "a tenth of a second later\n"
    );
}

/// The numbers depend on the machine's CPUs and page size only a little: those of the page are of two CPUs.
#[test]
fn the_arithmetic_of_a_million_is_that_of_doctor() {
    let page = "howto/million.md";
    let site = Site::new(
        "moorline",
        &file(page, "moorline.toml").replace(":9501", ":0"),
    );
    let mut told = site.run(&["doctor"]).stdout;
    let blocks = blocks(&docs().join(page));
    let text = blocks
        .iter()
        .find(|block| block.text.starts_with("open files:"));
    let digits = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
    told = digits(&told);
    for line in text.expect("the page shows what doctor says").text.lines() {
        assert!(told.contains(&digits(line)), "{line}\n{told}");
    }
}

#[test]
fn relays_of_the_page_reach_their_peers_and_one_is_taken_out() {
    let page = "howto/proxy.md";
    let peers = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    let ports = peers
        .each_ref()
        .map(|peer| peer.local_addr().expect("it is bound").port());
    let config = file(page, "moorline.toml")
        .replace(":3306", ":0")
        .replace(":3307", &format!(":{}", ports[0]))
        .replace(":3308", &format!(":{}", ports[1]));
    let site = Site::new("moorline", &config);
    for (peer, name) in peers.into_iter().zip(["first", "second"]) {
        std::thread::spawn(move || {
            for mut stream in peer.incoming().flatten() {
                // A check has closed it already.
                let _ = std::io::Write::write_all(&mut stream, format!("{name}\n").as_bytes());
                std::thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
            }
        });
    }
    let engine = site.start();
    let drained = format!("mysql/127.0.0.1:{}", ports[0]);
    site.run(&["upstreams", "set", &drained, "--drain"])
        .expect_success();
    for _ in 0..4 {
        let mut client = Client::connect(&engine, 0, Wire::Line);
        assert_eq!(client.receive(), b"second");
    }
    let listed = site.run(&["upstreams"]).expect_success().stdout;
    assert!(listed.contains("drain"), "{listed}");
}

/// In a tenth of the time.
#[test]
fn a_server_is_measured_with_the_commands_of_the_page() {
    let page = "howto/measure.md";
    let site = Site::new(
        "moorline",
        &file(page, "moorline.toml").replace(":9501", ":0"),
    );
    site.write("main.lua", file(page, "main.lua"));
    let engine = site.start();
    let blocks = blocks(&docs().join(page));
    let commands = blocks.iter().filter(|block| block.language == "sh");
    let commands: Vec<&str> = commands.flat_map(|block| block.text.lines()).collect();
    assert_eq!(commands.len(), 6);
    for command in commands {
        let command = command
            .replace("tcp://127.0.0.1:9501", engine.address(0))
            .replace("--duration 10s", "--duration 1s");
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        let mut run = site.command(&words);
        run.current_dir(site.path("")).finish().expect_success();
    }
    for (name, words) in [
        ("before.html", "Latency histogram"),
        ("comparison.html", "A compared with B"),
    ] {
        let page = std::fs::read_to_string(site.path(name)).expect("it was written");
        assert!(page.contains(words), "{name}");
    }
}
