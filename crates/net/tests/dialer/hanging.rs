//! Dials that come to nothing, a thousand at once: each ends in time, says where it hung, and disturbs nobody.
//! The figures of ten thousand are `examples/hanging.rs`'s.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moorline_net::dial::StepKind;
use moorline_net::tls::{TlsOptions, Verification};
use moorline_net::{
    Address, ConnectCause, ConnectError, DialOptions, Dialer, listen, local_address,
};
use tokio::task::JoinSet;

use crate::support::{Told, address, full, not_found, refusing};

const AT_ONCE: usize = 1000;
/// Making the keys of a handshake takes its time, more so without optimisation.
const HANDSHAKES_AT_ONCE: usize = 100;
const DEADLINE: Duration = Duration::from_millis(500);

fn dialer(told: Told) -> Dialer {
    let options = DialOptions::default()
        .deadline(DEADLINE)
        // The system's roots take longer to read than these dials have.
        .tls(TlsOptions::default().verification(Verification::DangerouslyNone));
    Dialer::new(options).with_resolver(Arc::new(told))
}

/// Dials many times at once; each ends with what `is_expected`, soon after the deadline at the latest.
async fn each_fails(
    dials: usize,
    dialer: Dialer,
    to: Address,
    is_expected: impl Fn(&ConnectError) -> bool,
) {
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..dials {
        let (dialer, to) = (dialer.clone(), to.clone());
        tasks.spawn(async move { dialer.connect(&to).await.map(|_| ()) });
    }
    while let Some(dialed) = tasks.join_next().await {
        let error = dialed.unwrap().expect_err("it leads nowhere");
        assert!(is_expected(&error), "{error:?} {}", error.timeline());
    }
    assert!(started.elapsed() < DEADLINE * 4, "{:?}", started.elapsed());
}

fn times_out_in(step: StepKind) -> impl Fn(&ConnectError) -> bool {
    move |error| {
        let last = error.timeline().steps().last();
        matches!(error.cause(), ConnectCause::Timeout)
            && error.step() == Some(step)
            && last.is_some_and(|last| last.kind == step && last.outcome.to_string() == "timed out")
    }
}

/// On the runtime that loops are made of.
fn on_one_thread(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test);
}

#[test]
fn at_a_full_backlog() {
    on_one_thread(async {
        let full = full("127.0.0.1").await;
        let to = address(format!("tcp://{}", full.address));
        each_fails(
            AT_ONCE,
            dialer(Told::Never),
            to,
            times_out_in(StepKind::Connect),
        )
        .await;
    });
}

#[test]
fn at_a_port_that_refuses() {
    on_one_thread(async {
        let (_socket, at) = refusing();
        let refused = |error: &ConnectError| matches!(error.cause(), ConnectCause::Refused(_));
        each_fails(
            AT_ONCE,
            dialer(Told::Never),
            address(format!("tcp://{at}")),
            refused,
        )
        .await;
    });
}

#[test]
fn at_a_name_that_does_not_exist() {
    on_one_thread(async {
        let unknown = |error: &ConnectError| matches!(error.cause(), ConnectCause::Resolve(cause) if *cause == not_found());
        let dialer = dialer(Told::Together(Err(not_found())));
        each_fails(AT_ONCE, dialer, address("tcp://name.test:1"), unknown).await;
    });
}

#[test]
fn at_a_resolver_that_never_answers() {
    on_one_thread(async {
        let to = address("tcp://name.test:1");
        each_fails(
            AT_ONCE,
            dialer(Told::Never),
            to,
            times_out_in(StepKind::Resolve),
        )
        .await;
    });
}

#[test]
fn at_a_tls_server_that_never_shakes_hands() {
    on_one_thread(async {
        // Its backlog has room for all of them, and nobody accepts.
        let any = address("tls://127.0.0.1:0");
        let listener = listen(&any).unwrap();
        let to = local_address(&listener, &any);
        each_fails(
            HANDSHAKES_AT_ONCE,
            dialer(Told::Never),
            to,
            times_out_in(StepKind::Tls),
        )
        .await;
    });
}
