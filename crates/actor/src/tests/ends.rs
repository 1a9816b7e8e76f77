//! What others see of the end of a service.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::{PATIENCE, loops, on, reporting};
use crate::{
    Actor, Context, Kind, LaunchOptions, Message, Payload, Port, Report, Service, ServiceId,
    System, SystemOptions,
};
use std::sync::mpsc;

/// Passes on what it receives.
struct Recorder(mpsc::Sender<(Kind, ServiceId)>);

impl Actor for Recorder {
    fn receive(&mut self, message: Message) {
        let _ = self.0.send((message.kind, message.source));
    }
}

/// Takes calls and never answers.
struct Silent;

impl Actor for Silent {
    fn receive(&mut self, _: Message) {}
}

#[test]
fn watchers_and_callers_are_told_of_a_kill() {
    for index in 0..2 {
        let system = System::start(loops(2)).expect("threads start");
        let (tell, told) = mpsc::channel();
        let launched = system.launch_actor(on(0), move |port: Port| {
            let silent = port
                .launch(on(index), 0, |_| Ok(Box::new(Silent)))
                .expect("there is a slot");
            port.watch(silent);
            for _ in 0..3 {
                let session = port.next_session();
                let _ = port.send(silent, Kind(10), session, Payload::Empty);
            }
            assert!(port.kill(silent));
            Ok(Box::new(Recorder(tell)))
        });
        launched.expect("there is a slot");
        let mut kinds = Vec::new();
        for _ in 0..4 {
            kinds.push(told.recv_timeout(PATIENCE).expect("all are told").0);
        }
        kinds.sort_by_key(|kind| kind.0);
        assert_eq!(kinds, [Kind::ERROR, Kind::ERROR, Kind::ERROR, Kind::EXITED]);
    }
}

#[test]
fn a_watcher_of_a_service_that_is_gone_is_told_at_once() {
    let system = System::start(loops(1)).expect("threads start");
    let (tell, told) = mpsc::channel();
    let gone = ServiceId::from_number(12345);
    let launched = system.launch_actor(on(0), move |port: Port| {
        port.watch(gone);
        Ok(Box::new(Recorder(tell)))
    });
    launched.expect("there is a slot");
    assert_eq!(told.recv_timeout(PATIENCE), Ok((Kind::EXITED, gone)));
}

#[test]
fn an_actor_that_panics_ends_and_its_callers_are_told() {
    struct Fragile;
    impl Actor for Fragile {
        fn receive(&mut self, _: Message) {
            panic!("too much");
        }
    }
    let (options, reports) = reporting(loops(1));
    let system = System::start(options).expect("threads start");
    let (tell, told) = mpsc::channel();
    let launched = system.launch_actor(on(0), move |port: Port| {
        let fragile = port
            .launch(on(0), 0, |_| Ok(Box::new(Fragile)))
            .expect("there is a slot");
        let session = port.next_session();
        let _ = port.send(fragile, Kind(10), session, Payload::Empty);
        Ok(Box::new(Recorder(tell)))
    });
    launched.expect("there is a slot");
    let (kind, source) = told.recv_timeout(PATIENCE).expect("the caller is told");
    assert_eq!(kind, Kind::ERROR);
    let text = "too much".to_owned();
    let expected = Report::Panicked {
        service: source,
        text,
    };
    assert_eq!(*reports.lock().expect("not poisoned"), [expected]);
}

#[test]
fn a_service_that_never_returns_is_reported_once() {
    let (options, reports) = reporting(SystemOptions {
        stall_after: Duration::from_millis(20),
        ..loops(1)
    });
    let system = System::start(options).expect("threads start");
    let (tell, told) = mpsc::channel::<()>();
    struct Looping(RefCell<Option<mpsc::Receiver<()>>>);
    impl Service for Looping {
        type Request = ();
        type Reply = ();
        async fn handle(self: Rc<Self>, _: Context, (): ()) {
            let told = self.0.borrow_mut().take();
            let _ = told.map(|told| told.recv());
        }
    }
    let launched = system.launch(LaunchOptions::default(), |_| {
        Ok(Looping(RefCell::new(Some(told))))
    });
    let looping = launched.expect("there is a slot");
    system.send(looping, ());
    let start = std::time::Instant::now();
    while reports.lock().expect("not poisoned").is_empty() && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(100));
    drop(tell);
    let expected = Report::Stuck {
        service: looping.id(),
        source: ServiceId::NONE,
        others: 0,
        lasting: Duration::from_millis(20),
    };
    assert_eq!(*reports.lock().expect("not poisoned"), [expected]);
}
