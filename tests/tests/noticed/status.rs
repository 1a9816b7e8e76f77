//! `status`: what is wrong stands first.

use moorline_tests::{Engine, LENGTH_LISTENER, eventually};
use nix::sys::signal::Signal;

fn first_line(engine: &Engine) -> String {
    let said = engine.run(&["status"]).expect_success().stdout;
    said.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn a_healthy_engine_says_so_and_a_failed_reload_is_told_until_one_succeeds() {
    let engine = Engine::start("probe", LENGTH_LISTENER);
    assert_eq!(first_line(&engine), "healthy");
    engine.site().configure("[engine]\nnonsense = 1\n");
    engine.reload();
    let said = engine.run(&["status"]).expect_success().stdout;
    assert!(
        said.starts_with("1 thing is wrong\nwarning  The last reload failed "),
        "{said}"
    );
    assert!(said.contains("nonsense"), "{said}");
    assert!(said.contains("\n         to do: Mend that"), "{said}");
    let json = engine.run(&["status", "--json"]).expect_success().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["findings"][0]["kind"], "reload-failed");
    assert_eq!(json["findings"][0]["urgency"], "ticket");
    assert_eq!(json["reloads"]["last"]["result"], "failed");
    engine.site().configure(LENGTH_LISTENER);
    engine.reload().expect_success();
    assert_eq!(first_line(&engine), "healthy");
}

#[test]
fn a_worker_that_died_is_told_although_another_one_serves() {
    let engine = Engine::start("probe", LENGTH_LISTENER);
    engine.kill_worker(0, Signal::SIGKILL);
    eventually("it is told", || {
        let said = engine.run(&["status"]).expect_success().stdout;
        said.contains("Ended without an order: 1 worker in the last ")
    });
}
