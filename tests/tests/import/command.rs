//! The command `import`.

use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::Stdio;

use moorline_tests::{Finish, Site};
use nix::sys::stat::Mode;

use super::proxies::{exchange, free_port, named, serve};

fn conf(port: u16, peer: &str) -> String {
    format!("stream {{ server {{ listen 127.0.0.1:{port}; proxy_pass {peer}; }} }}")
}

#[test]
fn what_it_prints_passes_a_check() {
    let site = Site::new("moorline", "");
    site.write("nginx.conf", "stream {\n include servers/*;\n}");
    site.write(
        "servers/a",
        conf(80, "10.0.0.1:80")
            .trim_start_matches("stream {")
            .trim_end_matches('}'),
    );
    let printed = site.command(&["import", "nginx.conf"]).finish();
    assert!(printed.status.success(), "{printed:#?}");
    assert!(
        printed
            .stdout
            .contains("tcp://127.0.0.1:80\"  # servers/a:1"),
        "{printed:#?}"
    );
    site.configure(&printed.stdout);
    let checked = site.run(&["check"]);
    assert!(checked.status.success(), "{checked:#?}");
    let written = site.command(&[
        "import",
        "nginx.conf",
        "--output",
        "a.toml",
        "--output",
        "b.toml",
    ]);
    let mut written = written;
    let written = written.finish();
    assert_eq!(written.stdout, "");
    for name in ["a.toml", "b.toml"] {
        let text = fs::read_to_string(site.path(name)).expect("it was written");
        assert_eq!(text, printed.stdout);
    }
}

#[test]
fn errors_name_their_lines_and_nothing_is_written() {
    let site = Site::new("moorline", "");
    site.write("nginx.conf", "stream {\n foo;\n server { listen x; }\n}");
    let refused = site
        .command(&["import", "nginx.conf", "--output", "a.toml"])
        .finish();
    assert_eq!(refused.status.code(), Some(2), "{refused:#?}");
    for line in [
        "error: nginx.conf:2: `foo` in `stream` is not imported by this version\n",
        "error: nginx.conf:3: `listen` has no port in \"x\"\n",
    ] {
        assert!(refused.stderr.contains(line), "{refused:#?}");
    }
    assert!(!site.path("a.toml").exists());
}

#[test]
fn standard_input_is_imported() {
    let site = Site::new("moorline", "");
    let mut command = site.command(&["import", "-"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = child.stdin.take().expect("it is piped");
    input
        .write_all(conf(80, "10.0.0.1:80").as_bytes())
        .expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("tcp://127.0.0.1:80"), "{text}");
}

#[test]
fn a_reload_imports_the_file_again() {
    let (first, second) = (named("a"), named("b"));
    let (port, other) = (free_port(), free_port());
    let site = Site::new("moorline", "");
    site.write("nginx.conf", conf(port, &first.address.to_string()));
    let engine = serve(&site, "nginx.conf");
    assert_eq!(exchange(port, Ipv4Addr::LOCALHOST, b""), b"a");
    site.write("nginx.conf", "stream { server { listen x; } }");
    let refused = site.command(&["reload", "nginx.conf"]).finish();
    assert!(
        !refused.status.success() && refused.stderr.contains("nginx.conf:1"),
        "{refused:#?}"
    );
    assert_eq!(exchange(port, Ipv4Addr::LOCALHOST, b""), b"a");
    site.write("nginx.conf", conf(other, &second.address.to_string()));
    let reloaded = site.command(&["reload", "nginx.conf"]).finish();
    assert!(reloaded.status.success(), "{reloaded:#?}");
    assert_eq!(exchange(other, Ipv4Addr::LOCALHOST, b""), b"b");
    drop(engine);
}

#[test]
fn a_file_that_can_be_read_once_is_read_once() {
    let peer = named("a");
    let port = free_port();
    let site = Site::new("moorline", "");
    let path = site.path("nginx.conf");
    nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).expect("the folder can be written");
    let text = conf(port, &peer.address.to_string());
    let writer = std::thread::spawn(move || fs::write(path, text));
    let engine = serve(&site, "nginx.conf");
    writer.join().expect("it ends").expect("it is read");
    assert_eq!(exchange(port, Ipv4Addr::LOCALHOST, b""), b"a");
    drop(engine);
}

#[test]
fn a_reload_does_not_wait_for_pipes_that_the_file_is_or_includes() {
    let peer = named("a");
    for file in ["nginx.conf", "rest.conf"] {
        let port = free_port();
        let site = Site::new("moorline", "");
        let path = site.path(file);
        nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600))
            .expect("the folder can be written");
        let text = conf(port, &peer.address.to_string());
        if file != "nginx.conf" {
            site.write("nginx.conf", "include rest.conf;");
        }
        let writer = std::thread::spawn(move || fs::write(path, text));
        let engine = serve(&site, "nginx.conf");
        writer.join().expect("it ends").expect("it is read");
        let refused = site.command(&["reload", "nginx.conf"]).finish();
        let is_told = refused
            .stderr
            .contains("is a pipe, which can be read only once");
        assert!(!refused.status.success() && is_told, "{refused:#?}");
        assert_eq!(exchange(port, Ipv4Addr::LOCALHOST, b""), b"a");
        drop(engine);
    }
}

#[test]
fn nobody_need_read_what_it_prints() {
    let site = Site::new("moorline", "");
    let servers = (1..3000).map(|port| conf(port, "10.0.0.1:80").replace("stream {", ""));
    let servers: String = servers
        .map(|it| it.trim_end_matches('}').to_owned())
        .collect();
    site.write(
        "nginx.conf",
        format!("worker_processes 1; stream {{ {servers} }}"),
    );
    let mut command = site.command(&["import", "nginx.conf"]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !told.contains("panicked"),
        "{told}"
    );
    let mut command = site.command(&["import", "nginx.conf"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("it starts");
    drop(child.stderr.take());
    assert!(child.wait().expect("it ends").success());
}
