//! Files on their way from processes to sessions.

use moorline_ipc::Header;

use super::process::FILE;
use super::script::{Script, config};
use crate::commands::Report;
use moorline_protocol::control::{LoopCounter, Role};
use moorline_protocol::wire::FromProcess;

const LINES: &str = "[[listen]]\naddress = \"tcp://127.0.0.1:1001\"\nframing = { kind = \"line\" }\n\
                     on_crash = \"redeliver\"\n";

fn session(script: &Script) -> u64 {
    let sessions = &script.processes[0].sessions;
    *sessions.keys().next().expect("a session is open")
}

fn file() -> String {
    String::from_utf8(FILE.to_vec()).expect("it is text")
}

#[test]
fn a_file_whose_worker_dies_before_its_record_holds_up_no_session_and_leaks_nothing() {
    let mut script = Script::serving(config(LINES), 1);
    let mut clients = [script.connect(0)];
    script.settle(&mut clients);
    let session = session(&script);
    script.pass_file(0, session, true);
    script.turn();
    assert_eq!(script.open_files(), 1);
    script.kill(0);
    assert_eq!(script.open_files(), 0);
    script.attach(Role::Worker(0));
    script.activate(1);
    clients[0].say(10);
    script.settle(&mut clients);
    assert_eq!(clients[0].echoes, [1]);
    assert!(clients[0].others.is_empty(), "{:?}", clients[0].others);
}

#[test]
fn a_file_whose_worker_dies_after_its_record_arrives() {
    let mut script = Script::serving(config(LINES), 1);
    let mut clients = [script.connect(0)];
    script.settle(&mut clients);
    let session = session(&script);
    script.pass_file(0, session, true);
    script.turn();
    script.processes[0].take(usize::MAX);
    script.processes[0].flush();
    script.kill(0);
    script.attach(Role::Worker(0));
    script.activate(1);
    script.settle(&mut clients);
    assert_eq!(clients[0].others, [file()]);
    assert_eq!(script.open_files(), 0);
}

#[test]
fn a_descriptor_that_comes_after_the_death_of_its_worker_is_closed() {
    let mut script = Script::serving(config(LINES), 1);
    let mut clients = [script.connect(0)];
    script.settle(&mut clients);
    let session = session(&script);
    let dead = script.processes[0].id;
    script.kill(0);
    script.attach(Role::Worker(0));
    script.activate(1);
    script.processes[0].id = dead;
    script.pass_file(0, session, true);
    assert_eq!(script.open_files(), 0);
}

#[test]
fn a_process_learns_of_a_refused_file_and_the_session_goes_on() {
    let mut script = Script::serving(config(LINES), 1);
    let mut clients = [script.connect(0)];
    script.settle(&mut clients);
    let session = session(&script);
    script.pass_file(0, session, false);
    script.pass_file(0, session, true);
    clients[0].say(10);
    script.settle(&mut clients);
    assert_eq!(script.processes[0].refused.len(), 1);
    assert_eq!(script.processes[0].files(), 0);
    assert_eq!(
        (&clients[0].others[..], &clients[0].echoes[..]),
        (&[file()][..], &[1][..])
    );
}

#[test]
fn a_record_without_its_descriptor_breaks_its_process_and_no_session() {
    let mut script = Script::serving(config(LINES), 1);
    let mut clients = [script.connect(0)];
    script.settle(&mut clients);
    let session = session(&script);
    script.reports();
    let header = Header {
        kind: FromProcess::File as u8,
        session,
        sequence: 77,
        ..Header::default()
    };
    script.processes[0].push(header, &[0, 0, 0]);
    script.settle(&mut clients);
    let reports = script.reports();
    assert!(
        matches!(&reports[..], [Report::Garbage(1, reason)] if reason.contains("without its descriptor")),
        "{reports:?}"
    );
    script.kill(0);
    script.attach(Role::Worker(0));
    script.activate(1);
    clients[0].say(10);
    script.settle(&mut clients);
    assert_eq!(clients[0].echoes, [1]);
    assert_eq!(script.count(LoopCounter::ClosedByCrash), 0);
}

#[test]
fn a_process_that_passes_descriptors_and_takes_no_answer_is_broken_at_a_bound() {
    for is_kept in [true, false] {
        let mut script = Script::serving(config(LINES), 1);
        let mut clients = [script.connect(0)];
        script.settle(&mut clients);
        let session = session(&script);
        script.reports();
        for _ in 0..5000 {
            script.pass_file(0, session, is_kept);
        }
        script.turn();
        let reports = script.reports();
        assert!(
            matches!(&reports[..], [Report::Garbage(1, reason)] if reason.contains("over 1024 files")),
            "{reports:?}"
        );
        assert!(script.open_files() <= 1024, "{}", script.open_files());
    }
}
