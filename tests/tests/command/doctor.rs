//! `doctor`: whether the machine is fit for a configuration.

use std::process::Command;

use moorline_tests::{Finish, Finished, Issuer, LENGTH_LISTENER, Site};

fn with_tls(years: (i32, i32)) -> Finished {
    let config = LENGTH_LISTENER.replace(
        "framing",
        "tls = { certificate = \"shown.pem\", key = \"shown.key\" }\nmax_sessions = 10\nframing",
    );
    let site = Site::new("echo", &config);
    let issued = Issuer::new().issue_between(&["localhost"], years.0, years.1);
    issued.write(&site, "shown");
    site.run(&["doctor"])
}

#[test]
fn a_machine_that_is_fit_is_told_with_the_arithmetic() {
    let finished = with_tls((2020, 2090));
    assert_eq!(finished.status.code(), Some(0), "{finished:#?}");
    for words in [
        "ok       kernel: Linux ",
        "ok       open files: 10 sockets of `max_sessions` and ",
        "memory: 10 sessions that are idle take about ",
        "backlog: net.core.somaxconn is ",
        "ok       certificate: ",
        "disk: run_dir has ",
    ] {
        assert!(
            finished.stdout.contains(words),
            "{words}: {}",
            finished.stdout
        );
    }
}

#[test]
fn a_certificate_that_has_ended_is_refused_as_by_check() {
    let finished = with_tls((2000, 2001));
    assert_eq!(finished.status.code(), Some(2), "{finished:#?}");
    let said = finished.said();
    assert!(
        said.contains("has expired") && said.contains("have it renewed"),
        "{said}"
    );
}

#[test]
fn what_keeps_the_engine_from_starting_is_wrong() {
    let site = Site::new("echo", LENGTH_LISTENER);
    let doctor = site.command(&["doctor"]);
    let script = format!(
        "ulimit -n 40 && exec {} doctor .",
        doctor.get_program().display()
    );
    let mut limited = Command::new("sh");
    limited.args(["-c", &script]).current_dir(site.path(""));
    let finished = limited.finish();
    assert_eq!(finished.status.code(), Some(1), "{finished:#?}");
    for words in [
        "WRONG    open files: ",
        "the hard limit is 40",
        "hint: raise it: LimitNOFILE=",
    ] {
        assert!(
            finished.stdout.contains(words),
            "{words}: {}",
            finished.stdout
        );
    }
}

#[test]
fn more_sessions_than_open_files_are_told_with_what_to_set() {
    let config = LENGTH_LISTENER.replace("framing", "max_sessions = 10000000\nframing");
    let site = Site::new("echo", &config);
    let finished = site.run(&["doctor"]);
    assert_eq!(finished.status.code(), Some(0), "{finished:#?}");
    for words in ["warning  open files: 10000000 sockets", "LimitNOFILE=10000"] {
        assert!(
            finished.stdout.contains(words),
            "{words}: {}",
            finished.stdout
        );
    }
}

#[test]
fn relays_have_two_sockets_and_listeners_that_return_a_text_have_one() {
    let listener = |destination: &str| {
        format!("[[listen]]\naddress = \"tcp://127.0.0.1:0\"\nmax_sessions = 10\n{destination}\n")
    };
    let config = format!(
        "[workers]\ncount = 0\n{}{}",
        listener("upstream = \"tcp://127.0.0.1:1\""),
        listener("name = \"text\"\nreturn = \"x\"")
    );
    let finished = Site::new("moorline", &config).run(&["doctor"]);
    let words = "open files: 30 sockets of `max_sessions`";
    assert!(finished.stdout.contains(words), "{finished:#?}");
}

#[test]
fn a_configuration_with_mistakes_is_refused_as_by_check() {
    let site = Site::new("echo", "[[listen]]\naddress = 1\n");
    let finished = site.run(&["doctor"]);
    assert_eq!(finished.status.code(), Some(2), "{finished:#?}");
}
