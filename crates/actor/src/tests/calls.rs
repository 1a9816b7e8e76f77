//! Requests, replies, deadlines.

use std::rc::Rc;
use std::time::Duration;

use super::{loops, on, reporting, run};
use crate::{
    CallError, Context, LaunchError, LaunchOptions, Report, SendError, Service, ServiceId,
};

struct Doubler;

impl Service for Doubler {
    type Request = u64;
    type Reply = u64;

    async fn handle(self: Rc<Self>, context: Context, number: u64) -> u64 {
        match number {
            0 => panic!("nothing to double"),
            7 => context.sleep(Duration::from_secs(3600)).await,
            8 => context.exit(),
            _ => {}
        }
        2 * number
    }
}

#[test]
fn a_call_is_answered_on_this_loop_and_on_another_one() {
    let replies = run(loops(2), async |context| {
        let mut replies = Vec::new();
        for index in 0..2 {
            let doubler = context.launch(on(index), |_| Ok(Doubler)).await;
            let doubler = doubler.expect("it starts");
            replies.push(context.call(doubler, 21).await);
        }
        replies
    });
    assert_eq!(replies, [Ok(42), Ok(42)]);
}

#[test]
fn a_call_ends_at_its_deadline_and_the_service_goes_on() {
    let replies = run(loops(1), async |context| {
        let doubler = context.launch(on(0), |_| Ok(Doubler)).await;
        let doubler = doubler.expect("it starts");
        let late = context
            .call_within(Duration::from_millis(10), doubler, 7)
            .await;
        let early = context
            .call_within(Duration::from_secs(60), doubler, 1)
            .await;
        (doubler.id(), late, early)
    });
    assert_eq!(replies.1, Err(CallError::Late(replies.0)));
    assert_eq!(replies.2, Ok(2));
}

#[test]
fn a_panic_fails_its_request_alone_and_is_reported() {
    let (options, reports) = reporting(loops(1));
    let (id, panicked, after) = run(options, async |context| {
        let doubler = context.launch(on(0), |_| Ok(Doubler)).await;
        let doubler = doubler.expect("it starts");
        let panicked = context.call(doubler, 0).await;
        (doubler.id(), panicked, context.call(doubler, 2).await)
    });
    assert_eq!((panicked, after), (Err(CallError::Failed(id)), Ok(4)));
    let text = "nothing to double".to_owned();
    let expected = Report::Panicked { service: id, text };
    assert_eq!(*reports.lock().expect("not poisoned"), [expected]);
}

#[test]
fn a_call_to_a_service_that_ended_fails_at_once_and_one_in_progress_fails_at_its_end() {
    for index in 0..2 {
        let (id, waiting, ending, after) = run(loops(2), async move |context| {
            let doubler = context.launch(on(index), |_| Ok(Doubler)).await;
            let doubler = doubler.expect("it starts");
            let waiting = context.call(doubler, 7);
            let ending = context.call(doubler, 8);
            // Its handler has replied before the service ended.
            let ending = ending.await;
            let waiting = waiting.await;
            (
                doubler.id(),
                waiting,
                ending,
                context.call(doubler, 1).await,
            )
        });
        assert_eq!(ending, Ok(16));
        assert_eq!(waiting, Err(CallError::Failed(id)));
        assert_eq!(after, Err(CallError::Unsent(SendError::Gone(id))));
    }
}

#[test]
fn a_launch_that_fails_says_why() {
    let refused = run(loops(1), async |context| {
        let launched = context
            .launch(LaunchOptions::default(), |_| {
                Err::<Doubler, _>("no money".to_owned())
            })
            .await;
        let nowhere = context.launch(on(9), |_| Ok(Doubler)).await;
        (launched.err(), nowhere.err())
    });
    let why = LaunchError::Failed("no money".to_owned());
    assert_eq!(refused, (Some(why), Some(LaunchError::NoLoop(9))));
}

#[test]
fn a_request_of_another_type_fails() {
    struct Other;
    impl Service for Other {
        type Request = String;
        type Reply = String;
        async fn handle(self: Rc<Self>, _: Context, text: String) -> String {
            text
        }
    }
    let (id, reply) = run(loops(1), async |context| {
        let doubler = context.launch(on(0), |_| Ok(Doubler)).await;
        let id = doubler.expect("it starts").id();
        let other = crate::Address::<Other>::new(id);
        (id, context.call(other, "two".to_owned()).await)
    });
    assert_eq!(reply, Err(CallError::Failed(id)));
}

#[test]
fn a_future_of_the_runtime_wakes_its_task() {
    let slept = run(loops(1), async |_| {
        let sleep = tokio::time::sleep(Duration::from_millis(5));
        sleep.await;
        tokio::task::spawn_blocking(|| 42).await.ok()
    });
    assert_eq!(slept, Some(42));
}

#[test]
fn a_name_belongs_to_one_service_and_ends_with_it() {
    let found = run(loops(2), async |context| {
        let one = context.launch(on(0), |_| Ok(Doubler)).await;
        let two = context.launch(on(1), |_| Ok(Doubler)).await;
        let (one, two) = (one.expect("it starts"), two.expect("it starts"));
        let port = context.port();
        let given = [
            port.give_name("doubler", one.id()),
            port.give_name("doubler", one.id()),
            port.give_name("doubler", two.id()),
            port.give_name("nobody", ServiceId::from_number(99)),
        ];
        let found = port.find("doubler") == Some(one.id());
        let _ = context.call(one, 8).await;
        // One more turn: the service ends when its handler has returned.
        let _ = context.call(one, 1).await;
        (given, found, port.find("doubler"))
    });
    assert_eq!(found, ([true, true, false, false], true, None));
}
