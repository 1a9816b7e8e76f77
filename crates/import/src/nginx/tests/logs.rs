//! `log_format` and `access_log`.

use super::{errors, imported};

fn text(directives: &str) -> String {
    format!(
        "stream {{ log_format main '$remote_addr [$time_local]' ' $status';\n{directives}\nserver {{ listen 1; proxy_pass 10.0.0.1:80; }} }}"
    )
}

#[track_caller]
fn log(directives: &str) -> String {
    let found = imported(&text(directives));
    let lines = found
        .lines()
        .skip_while(|line| !line.starts_with("[access_log"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_log_has_the_text_of_its_format() {
    let format = "format = \"${client.address} [${time.local}] ${status}\"";
    for (directive, lines) in [
        ("/var/log/a.log main", "path = \"/var/log/a.log\"\nFORMAT"),
        (
            "logs/$server_port.log main",
            "path = \"/etc/nginx/logs/${server.port}.log\"\nFORMAT",
        ),
        ("/dev/stdout main", "path = \"stdout\"\nFORMAT"),
        (
            "a.log main buffer=32k flush=5s",
            "path = \"/etc/nginx/a.log\"\nFORMAT\nbuffer = \"32KiB\"\nflush = \"5s\"",
        ),
        (
            "a.log main gzip",
            "path = \"/etc/nginx/a.log\"\nFORMAT\nbuffer = \"64KiB\"\ngzip = 1",
        ),
        (
            "a.log main gzip=6 flush=1m",
            "path = \"/etc/nginx/a.log\"\nFORMAT\nbuffer = \"64KiB\"\nflush = \"1m\"\ngzip = 6",
        ),
        (
            "a.log main if=$status",
            "path = \"/etc/nginx/a.log\"\nFORMAT\nif = \"${status}\"",
        ),
    ] {
        let expected = format!("[access_log.main]\n{}", lines.replace("FORMAT", format));
        assert_eq!(
            log(&format!("access_log {directive};")),
            expected,
            "{directive}"
        );
    }
    let found = log("log_format j escape=json '{\"a\":\"$remote_addr\"}'; access_log a.log j;");
    let expected = "[access_log.j]\npath = \"/etc/nginx/a.log\"\nformat = \"{\\\"a\\\":\\\"${client.address}\\\"}\"\nescape = \"json\"";
    assert_eq!(found, expected);
}

#[test]
fn a_server_has_its_own_logs_or_those_of_the_block() {
    let servers =
        "access_log a.log main; server { listen 2; proxy_pass 10.0.0.1:80; access_log off; }
        server { listen 3; proxy_pass 10.0.0.1:80; access_log b.log main; access_log a.log main; }";
    let found = imported(&text(servers));
    let uses: Vec<_> = found.split("access_log = [").skip(1).collect();
    let starts: Vec<_> = uses
        .iter()
        .map(|it| it.split(']').next().unwrap_or_default())
        .collect();
    assert_eq!(
        starts,
        ["", "\n  \"main\",\n  \"main-2\",\n", "\n  \"main-2\",\n"]
    );
}

#[test]
fn a_wrong_log_is_refused() {
    for (directive, expected) in [
        ("access_log a.log;", "`access_log` has no path or no format"),
        (
            "access_log a.log x;",
            "`access_log` names \"x\", which no `log_format` makes",
        ),
        (
            "access_log syslog:server=x main;",
            "`access_log` to syslog cannot be expressed: write a file, or \"stderr\" for the service manager",
        ),
        (
            "access_log a.log main flush=1s;",
            "`access_log` has `flush` without `buffer`",
        ),
        (
            "access_log a.log main gzip=10;",
            "`access_log` has a wrong option `gzip=10`",
        ),
        (
            "access_log a.log main foo=1;",
            "`access_log` has a wrong option `foo=1`",
        ),
        (
            "log_format main a;",
            "`log_format` names a format that is there already",
        ),
        (
            "log_format a escape=x b;",
            "`log_format` has an unknown escape \"x\"",
        ),
        ("log_format a;", "`log_format` has no text"),
        (
            "log_format a $http_host;",
            "the variable $http_host is not there in Moorline",
        ),
    ] {
        assert_eq!(
            errors(&text(directive)),
            [format!("nginx.conf:2: {expected}")],
            "{directive}"
        );
    }
}
