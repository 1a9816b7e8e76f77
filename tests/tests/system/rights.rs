//! The rights of processes, and the CPUs and folders that they run in.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use moorline_tests::{
    Client, Engine, LENGTH_LISTENER, Process, Site, Wire, eventually, require_root,
};
use nix::sys::signal::Signal;

/// Without root the keys are accepted and have no effect.
#[test]
fn an_engine_started_without_root_runs_all_processes_as_that_user() {
    let site = Site::new(
        "probe",
        &format!("[engine]\nuser = \"bin\"\ngateway_user = \"daemon\"\n{LENGTH_LISTENER}"),
    );
    let nobody = nix::unistd::User::from_name("nobody")
        .expect("users can be looked up")
        .expect("every Debian has it");
    let (script, user) = match nix::unistd::geteuid().is_root() {
        true => {
            std::os::unix::fs::chown(site.path(""), Some(nobody.uid.as_raw()), None)
                .expect("root may give it away");
            let script = "exec setpriv --reuid nobody --regid nogroup --clear-groups \"$0\" \"$@\"";
            (script, nobody.uid)
        }
        false => ("exec \"$0\" \"$@\"", nix::unistd::geteuid()),
    };
    let engine = site
        .try_start_by(script, |_| {})
        .unwrap_or_else(|finished| panic!("the engine does not start: {finished:#?}"));
    assert_eq!(engine.ask_once("build"), "first");
    for process in engine.processes() {
        assert_eq!(Process::user(process.pid), u64::from(user.as_raw()));
    }
}

/// With root, workers and gateway give up their rights for good.
#[test]
fn users_are_changed_to_when_root() {
    require_root("only root can give rights up");
    let nobody = nix::unistd::User::from_name("nobody")
        .expect("users can be looked up")
        .expect("every Debian has it");
    let daemon = nix::unistd::User::from_name("daemon")
        .expect("users can be looked up")
        .expect("every Debian has it");
    let engine = Engine::start(
        "probe",
        &format!(
            "[engine]\nuser = \"nobody\"\ngateway_user = \"daemon\"\n[workers]\ncount = 2\n[tasks]\ncount = 1\n{LENGTH_LISTENER}"
        ),
    );
    assert_eq!(engine.ask_once("build"), "first");
    let check = |engine: &Engine| {
        let status = engine.settled();
        assert_eq!(
            Process::user(status.gateway.pid),
            u64::from(daemon.uid.as_raw())
        );
        assert_eq!(
            Process::group(status.gateway.pid),
            u64::from(daemon.gid.as_raw())
        );
        for process in status.workers.iter().chain(&status.tasks) {
            assert_eq!(Process::user(process.pid), u64::from(nobody.uid.as_raw()));
            assert_eq!(Process::group(process.pid), u64::from(nobody.gid.as_raw()));
            assert_eq!(Process::groups(process.pid), Vec::<u64>::new());
        }
    };
    check(&engine);
    engine.reload().expect_success();
    engine.kill_worker(0, nix::sys::signal::Signal::SIGKILL);
    eventually("the worker is replaced", || {
        engine.status().ready_workers().len() == 2
    });
    check(&engine);
    assert_eq!(engine.ask_once("build"), "first");
}

#[test]
fn an_unknown_user_refuses_the_start() {
    require_root("without root the key has no effect");
    let site = Site::new(
        "probe",
        &format!("[engine]\nuser = \"nobody-at-all\"\n{LENGTH_LISTENER}"),
    );
    site.try_start()
        .err()
        .expect("it must not start")
        .expect_refusal(&["nobody-at-all"]);
}

/// A worker that has given its rights up reaches neither the engine's control socket nor what is root's alone,
/// and cannot have them back. Its own app it still serves.
#[test]
fn after_the_drop_a_worker_reaches_nothing_of_roots() {
    require_root("only root can give rights up");
    let site = Site::new(
        "probe",
        &format!(
            "[engine]\nrun_dir = \"{{folder}}/run\"\nuser = \"nobody\"\ngateway_user = \"daemon\"\n[workers]\ncount = 1\n{LENGTH_LISTENER}"
        ),
    );
    // So that it is the rights of the file and of the socket that count, and not those of the way to them.
    fs::set_permissions(site.path(""), fs::Permissions::from_mode(0o755)).expect("it is ours");
    site.write("secret", "for root alone");
    fs::set_permissions(site.path("secret"), fs::Permissions::from_mode(0o600))
        .expect("it is ours");
    site.write("open", "for everyone");
    let engine = site.start();
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let mut ask =
        |command: &str, name: &str| client.ask(format!("{command} {}", site.path(name).display()));
    assert_eq!(ask("try-open", "open"), "opened");
    assert_eq!(ask("try-open", "secret"), "PermissionDenied");
    assert_eq!(ask("try-connect", "run/control.sock"), "PermissionDenied");
    assert_eq!(ask("try-open", "run/lock"), "PermissionDenied");
    let supervisor = engine.supervisor();
    for place in ["environ", "mem", "fd/0"] {
        let place = format!("try-open /proc/{supervisor}/{place}");
        assert_eq!(client.ask(&place), "PermissionDenied");
    }
    assert_ne!(client.ask("try-rise"), "root");
    let status = engine.status();
    assert!(Process::has_no_new_privileges(status.workers[0].pid));
    assert!(Process::has_no_new_privileges(status.gateway.pid));
}

/// Processes of one user are as closed to each other as to anyone.
#[test]
fn no_worker_looks_into_another_process() {
    require_root("only root can give rights up");
    let engine = Engine::start(
        "probe",
        &format!(
            "[engine]\nuser = \"nobody\"\ngateway_user = \"daemon\"\n[workers]\ncount = 2\n[tasks]\ncount = 1\n{LENGTH_LISTENER}"
        ),
    );
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let own = client.ask_number("pid") as i32;
    let status = engine.settled();
    let processes = status.workers.iter().chain(&status.tasks);
    let others: Vec<i32> = processes
        .map(|process| process.pid)
        .chain([status.gateway.pid])
        .filter(|&pid| pid != own)
        .collect();
    assert_eq!(others.len(), 3);
    for pid in others {
        for place in ["mem", "environ", "maps", "fd/3"] {
            let place = format!("try-open /proc/{pid}/{place}");
            assert_eq!(client.ask(&place), "PermissionDenied", "{place}");
        }
    }
}

/// Processes that give up root see the folder of `chroot` as the root folder, also after reloads and crashes.
#[test]
fn chroot_is_where_workers_and_gateway_live() {
    require_root("only root can give rights up");
    let site = Site::new(
        "probe",
        &format!(
            "[engine]\nuser = \"nobody\"\ngateway_user = \"daemon\"\nchroot = \"{{folder}}/jail\"\n[workers]\ncount = 1\n[tasks]\ncount = 1\n{LENGTH_LISTENER}"
        ),
    );
    site.write("jail/inside", "seen");
    let engine = site.start();
    let root = fs::canonicalize(site.path("jail")).expect("it is there");
    let check = || {
        let mut client = Client::connect(&engine, 0, Wire::LENGTH);
        assert_eq!(client.ask("try-open /inside"), "opened");
        assert_eq!(client.ask("try-open /etc/passwd"), "NotFound");
        assert_eq!(client.ask("try-open ../../../../etc/passwd"), "NotFound");
        let status = engine.settled();
        let processes = status.workers.iter().chain(&status.tasks);
        for pid in processes
            .map(|process| process.pid)
            .chain([status.gateway.pid])
        {
            let place = fs::read_link(format!("/proc/{pid}/root")).expect("we are root");
            assert_eq!(place, root);
        }
    };
    check();
    engine.reload().expect_success();
    check();
    engine.kill_worker(0, Signal::SIGKILL);
    eventually("the worker is replaced", || {
        engine.status().ready_workers().len() == 1
    });
    check();
}

/// The commands of helpers and hooks are not in it, so that it does not hold them.
#[test]
fn a_chroot_does_not_hold_helpers() {
    require_root("only root can give rights up");
    let site = Site::new(
        "probe",
        &format!(
            "[engine]\nuser = \"nobody\"\nchroot = \"{{folder}}/jail\"\n[engine.hooks]\nstarted = [\"/bin/sh\", \"-c\", \"ls /etc/passwd; id -un\"]\n{LENGTH_LISTENER}[[helpers]]\nname = \"feeder\"\ncommand = [\"/bin/sleep\", \"1000\"]\n"
        ),
    );
    site.write("jail/inside", "seen");
    let engine = site.start();
    let is_sleep = |process: &Process| process.title.ends_with("sleep");
    let mut helper = None;
    eventually("the helper runs", || {
        helper = engine.processes().into_iter().find(is_sleep);
        helper.is_some()
    });
    let pid = helper.expect("it runs by then").pid;
    let place = fs::read_link(format!("/proc/{pid}/root")).expect("we are root");
    assert_eq!(place, Path::new("/"));
    engine.logged(&["hook started", "/etc/passwd"]);
    engine.logged(&["hook started", "nobody"]);
}

#[test]
fn a_chroot_without_a_user_is_refused() {
    let site = Site::new(
        "probe",
        &format!("[engine]\nchroot = \"{{folder}}\"\n{LENGTH_LISTENER}"),
    );
    site.run(&["check"])
        .expect_refusal(&["moorline.toml:2:1:", "user"]);
}

/// Helpers give their rights up too.
#[test]
fn helpers_run_as_the_workers_do() {
    require_root("only root can give rights up");
    let nobody = nix::unistd::User::from_name("nobody")
        .expect("users can be looked up")
        .expect("every Debian has it");
    let engine = Engine::start(
        "probe",
        &format!(
            "[engine]\nuser = \"nobody\"\n{LENGTH_LISTENER}[[helpers]]\nname = \"feeder\"\ncommand = [\"/bin/sleep\", \"1000\"]\n"
        ),
    );
    let is_sleep = |process: &Process| process.title.ends_with("sleep");
    eventually("the helper runs", || {
        engine.processes().iter().any(is_sleep)
    });
    let helper = engine.processes().into_iter().find(is_sleep);
    let pid = helper.expect("it runs").pid;
    assert_eq!(Process::user(pid), u64::from(nobody.uid.as_raw()));
    assert!(Process::has_no_new_privileges(pid));
}

/// Worker k and gateway loop k share a CPU; task workers go where they like.
#[test]
fn workers_and_loops_stay_on_their_cpu() {
    let allowed = Process::cpus(std::process::id() as i32);
    let engine = Engine::start(
        "probe",
        &format!(
            "[engine]\ngateway_loops = 2\n[workers]\ncount = 2\ncpu_affinity = true\n[tasks]\ncount = 1\n{LENGTH_LISTENER}"
        ),
    );
    let check = || {
        let status = engine.settled();
        let mut cpus = Vec::new();
        for worker in status.ready_workers() {
            let cpu = Process::cpus(worker.pid);
            assert!(cpu.parse::<u16>().is_ok(), "worker {}: {cpu}", worker.slot);
            let name = format!("loop {}", worker.slot);
            let of_loop = Process::cpus_of_thread(status.gateway.pid, &name);
            assert_eq!(of_loop.as_ref(), Some(&cpu));
            cpus.push(cpu);
        }
        assert_eq!(cpus.len(), 2);
        assert!(cpus[0] != cpus[1] || allowed.parse::<u16>().is_ok());
        assert_eq!(Process::cpus(status.tasks[0].pid), allowed);
    };
    check();
    engine.reload().expect_success();
    check();
}

/// What becomes of it is logged, by workers as by the gateway.
#[test]
fn workers_log_where_they_stay() {
    let engine = Engine::start(
        "probe",
        &format!(
            "[engine]\ngateway_loops = 1\n[engine.log]\nlevel = \"info,moorline=debug\"\n[workers]\ncount = 2\ncpu_affinity = [0]\n{LENGTH_LISTENER}"
        ),
    );
    eventually("all three have logged it", || {
        engine.log().matches("stays on one CPU").count() == 3
    });
}

/// From a list, worker k and loop k stay on its CPU number k, counted round.
#[test]
fn workers_and_loops_stay_on_the_cpus_of_a_list() {
    let allowed = Process::cpus(std::process::id() as i32);
    let last: u16 = allowed
        .rsplit([',', '-'])
        .next()
        .and_then(|cpu| cpu.parse().ok())
        .expect("there is a CPU");
    let engine = Engine::start(
        "probe",
        &format!(
            "[engine]\ngateway_loops = 2\n[workers]\ncount = 3\ncpu_affinity = [{last}]\n{LENGTH_LISTENER}"
        ),
    );
    let check = || {
        let status = engine.settled();
        for pid in status.worker_pids() {
            assert_eq!(Process::cpus(pid), last.to_string());
        }
        for name in ["loop 0", "loop 1"] {
            let cpus = Process::cpus_of_thread(status.gateway.pid, name);
            assert_eq!(cpus, Some(last.to_string()));
        }
    };
    check();
    engine.kill_worker(1, Signal::SIGKILL);
    eventually("the worker is replaced", || {
        engine.status().ready_workers().len() == 3
    });
    check();
}

/// Their `group` is another one than the user's own, for workers and task workers.
#[test]
fn a_group_of_their_own_is_changed_to_when_root() {
    let daemon = nix::unistd::Group::from_name("daemon")
        .expect("groups can be looked up")
        .expect("every Debian has it");
    let engine = Engine::start(
        "probe",
        &format!(
            "[engine]\nuser = \"nobody\"\ngroup = \"daemon\"\n[workers]\ncount = 1\n[tasks]\ncount = 1\n{LENGTH_LISTENER}"
        ),
    );
    assert_eq!(engine.ask_once("build"), "first");
    let status = engine.status();
    let expected = match nix::unistd::geteuid().is_root() {
        true => daemon.gid,
        // The key is accepted and has no effect.
        false => nix::unistd::getegid(),
    };
    for process in status.workers.iter().chain(&status.tasks) {
        assert_eq!(Process::group(process.pid), u64::from(expected.as_raw()));
    }
}

/// What a terminal or a careless `kill` sends to the other processes is for the supervisor alone to act on.
#[test]
fn signals_of_the_supervisors_are_ignored_by_the_others() {
    let engine = Engine::start(
        "probe",
        &format!("[workers]\ncount = 1\n[tasks]\ncount = 1\n{LENGTH_LISTENER}"),
    );
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let (worker, task) = (client.ask("pid"), client.ask("task pid"));
    let before = engine.status();
    let gateway = before.gateway.pid;
    for signal in [
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
    ] {
        for pid in [before.worker_pids()[0], before.tasks[0].pid, gateway] {
            moorline_tests::kill(pid, signal);
        }
        assert_eq!(client.ask("pid"), worker, "{signal}");
        assert_eq!(client.ask("task pid"), task, "{signal}");
    }
    let after = engine.status();
    assert_eq!(after.gateway.pid, gateway);
    assert_eq!((after.errors.worker_exits, after.reloads.done), (0, 0));
}

/// A CPU that is not there is named before anything starts.
#[test]
fn a_cpu_that_is_not_there_is_refused() {
    let config = format!("[workers]\ncpu_affinity = [0, 60000]\n{LENGTH_LISTENER}");
    Site::new("probe", &config)
        .run(&["check"])
        .expect_refusal(&["moorline.toml:2:", "60000"]);
}
