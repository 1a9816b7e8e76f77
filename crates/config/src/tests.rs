//! What depends on the machine, on a machine that is made up. The rest is in the crate's `tests/config.rs`.

use std::path::{Path, PathBuf};

use super::CpuAffinity;
use super::host::Host;
use super::load::load_on;

const LISTEN: &str = "[[listen]]\naddress = \"tcp://127.0.0.1:0\"\n";

fn desk() -> Host {
    Host {
        uid: 1000,
        cpus: 4,
        allowed_cpus: vec![0, 1, 4, 5],
        runtime_dir: Some("/run/user/1000".into()),
        has_run: true,
        knows_user: |_| false,
        knows_group: |_| false,
    }
}

fn server() -> Host {
    Host {
        uid: 0,
        cpus: 96,
        allowed_cpus: (0..96).collect(),
        runtime_dir: None,
        has_run: true,
        knows_user: |name| ["app", "gate"].contains(&name),
        knows_group: |name| name == "app",
    }
}

fn file() -> &'static Path {
    Path::new("/no such folder/chat/moorline.toml")
}

#[test]
fn counts_and_memory_follow_the_cpus() {
    let config = load_on(LISTEN, file(), &desk()).unwrap().config;
    assert_eq!(
        (
            config.engine.gateway_loops,
            config.workers.count,
            config.engine.ring_memory
        ),
        (4, 4, 8 << 20)
    );
    let config = load_on(LISTEN, file(), &server()).unwrap().config;
    assert_eq!(
        (
            config.engine.gateway_loops,
            config.workers.count,
            config.engine.ring_memory
        ),
        (64, 96, 128 << 20)
    );
}

#[test]
fn the_run_folder_is_named_by_the_path() {
    let run_dir = |host| {
        load_on(LISTEN, file(), &host)
            .unwrap()
            .config
            .engine
            .run_dir
    };
    assert_eq!(
        run_dir(desk()),
        PathBuf::from("/run/user/1000/moorline/3e4397845e4ed7b7")
    );
    assert_eq!(
        run_dir(server()),
        PathBuf::from("/run/moorline/3e4397845e4ed7b7")
    );
}

#[test]
fn a_run_folder_too_deep_for_a_socket_is_refused() {
    let host = Host {
        runtime_dir: Some(format!("/{}", "r".repeat(70)).into()),
        has_run: true,
        ..desk()
    };
    let error = load_on(LISTEN, file(), &host).unwrap_err().0.remove(0);
    assert_eq!(
        error.message,
        format!(
            "the control socket's path in /{}/moorline/3e4397845e4ed7b7 has 110 bytes, and a socket's path may have 107",
            "r".repeat(70)
        )
    );
}

#[test]
fn without_root_there_is_a_warning_and_no_look_at_the_users() {
    let loaded = load_on(
        &format!("[engine]\nuser = \"nobody knows\"\n{LISTEN}"),
        file(),
        &desk(),
    )
    .unwrap();
    assert_eq!(
        loaded.warnings,
        [
            "not started as root: all processes run as the user with number 1000, without a boundary between them; `user`, `group`, `gateway_user` and `chroot` have no effect"
        ]
    );
}

#[test]
fn root_needs_users_that_exist() {
    let text = "[engine]\nuser = \"aap\"\ngroup = \"noot\"\ngateway_user = \"mies\"\n";
    assert_eq!(
        load_on(&format!("{text}{LISTEN}"), file(), &server())
            .unwrap_err()
            .to_string(),
        r#"/no such folder/chat/moorline.toml:2:8: there is no user "aap"
  2 | user = "aap"
    |        ^^^^^
  hint: create it, or write the name of a user that exists here
/no such folder/chat/moorline.toml:3:9: there is no group "noot"
  3 | group = "noot"
    |         ^^^^^^
  hint: create it, or write the name of a group that exists here
/no such folder/chat/moorline.toml:4:16: there is no user "mies"
  4 | gateway_user = "mies"
    |                ^^^^^^
  hint: create it, or write the name of a user that exists here"#
    );
}

#[test]
fn root_is_warned_of_running_as_root() {
    assert_eq!(
        load_on(LISTEN, file(), &server()).unwrap().warnings,
        [
            "the workers run as root: name a `user` for them in [engine]",
            "the gateway runs as root: name a `gateway_user` for it in [engine]"
        ]
    );
    let text =
        format!("[engine]\nuser = \"app\"\ngroup = \"app\"\ngateway_user = \"gate\"\n{LISTEN}");
    assert_eq!(load_on(&text, file(), &server()).unwrap().warnings, [""; 0]);
}

#[test]
fn the_gateway_has_a_user_of_its_own() {
    let text = format!("[engine]\nuser = \"app\"\ngateway_user = \"app\"\n{LISTEN}");
    let error = load_on(&text, file(), &server()).unwrap_err().0.remove(0);
    assert_eq!(
        (error.line, error.message.as_str()),
        (
            3,
            "`gateway_user` is the same as `user`: workers could take over the gateway"
        )
    );
}

#[test]
fn cpus_that_may_not_be_used_are_refused_by_number() {
    let load = |value: &str| {
        let text = format!("[workers]\ncpu_affinity = {value}\n{LISTEN}");
        load_on(&text, file(), &desk())
            .map(|loaded| loaded.config.workers.cpu_affinity)
            .map_err(|errors| errors.to_string())
    };
    assert_eq!(load("true"), Ok(CpuAffinity::Each));
    assert_eq!(load("false"), Ok(CpuAffinity::Off));
    assert_eq!(load("[4, 0]"), Ok(CpuAffinity::Only(vec![4, 0])));
    assert!(load("[0, 2]").is_err_and(|error| error.contains("CPU 2")));
    assert!(load("[]").is_err_and(|error| error.contains("no CPU")));
}
