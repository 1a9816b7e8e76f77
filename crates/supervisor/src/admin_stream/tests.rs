//! What a process that serves `[admin]` can do if it is not what it should be.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::thread;

use moorline_config::Token;
use moorline_protocol::command::{Request, Response};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use super::super::control_socket::Asked;
use super::answer;

/// What the shell is asked for, and what comes back, where these lines are written.
fn written(token: Option<&str>, lines: &[&str]) -> (Vec<Request>, Vec<String>) {
    let token = token.map(|token| serde_json::from_value::<Token>(token.into()).unwrap());
    let lines = lines.join("\n");
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        let (inputs, mut asked) = mpsc::channel::<Asked>(8);
        let theirs = UnixStream::from(answer(&inputs, token).unwrap());
        let hostile = thread::spawn(move || {
            (&theirs).write_all(lines.as_bytes()).unwrap();
            theirs.shutdown(std::net::Shutdown::Write).unwrap();
            BufReader::new(theirs)
                .lines()
                .map_while(Result::ok)
                .collect()
        });
        drop(inputs);
        let mut requests = Vec::new();
        while let Some(Asked(request, answers)) = asked.recv().await {
            requests.push(request);
            answers.give(Response::Done("done".to_owned()));
        }
        let answers = tokio::task::spawn_blocking(|| hostile.join().unwrap());
        (requests, answers.await.unwrap())
    })
}

const RELOAD: &str = r#""request":{"command":"reload","scope":"all"}"#;

#[test]
fn it_can_look_and_change_nothing_without_the_token() {
    let act = |shown: &str| format!(r#"{{"number":1,{RELOAD}{shown}}}"#);
    let with = |token: &str| {
        act(&format!(
            r#","shown":{{"token":"{token}","from":"1.2.3.4:5"}}"#
        ))
    };
    let right = "0123456789abcdef";
    for (token, line, why) in [
        (None, act(""), "read-only"),
        (None, with(right), "read-only"),
        (None, with(""), "read-only"),
        (Some(right), act(""), "no-token"),
        (Some(right), with(""), "wrong-token"),
        (Some(right), with("0123456789abcdeg"), "wrong-token"),
        (Some(right), with("0123456789abcdef0"), "wrong-token"),
        (Some(right), with("0123456789abcde"), "wrong-token"),
        (
            Some(right),
            r#"{"number":1,"request":{"command":"stop"}}"#.to_owned(),
            "not-offered",
        ),
    ] {
        let (requests, answers) = written(token, &[&line, ""]);
        assert_eq!(requests, [], "{line}");
        assert!(
            answers.len() == 1 && answers[0].contains(why),
            "{line}: {answers:?}"
        );
    }
    let (requests, answers) = written(Some(right), &[&with(right), ""]);
    assert!(matches!(requests[..], [Request::Reload { .. }]));
    let done = r#"{"number":1,"response":{"done":"done"},"denied":null}"#;
    assert_eq!(answers, [done]);
    let (requests, _) = written(
        None,
        &[r#"{"number":1,"request":{"command":"status"}}"#, ""],
    );
    assert_eq!(requests, [Request::Status]);
}

#[test]
fn what_is_no_question_ends_the_stream() {
    let long = "x".repeat(100_000);
    for line in ["nonsense", r#"{"number":1}"#, &long] {
        let status = r#"{"number":1,"request":{"command":"status"}}"#;
        let (requests, answers) = written(None, &[line, status, ""]);
        assert_eq!((requests, answers), (Vec::new(), Vec::new()), "{line:.20}");
    }
}
