//! Senders that are faster than their receivers.

use std::sync::mpsc;
use std::time::Duration;

use super::{PATIENCE, loops, on, reporting};
use crate::{
    Actor, Kind, MailboxLimits, Message, Payload, Port, Report, ServiceId, System, SystemOptions,
};

/// Sends one message to another service for each timer, and sets the next at once.
struct Flooder {
    port: Port,
    to: ServiceId,
    sent: u64,
}

impl Actor for Flooder {
    fn receive(&mut self, _: Message) {
        for _ in 0..10 {
            let _ = self.port.send(self.to, Kind(10), 0, Payload::Empty);
            self.sent += 1;
        }
        if self.sent < 2000 {
            let _ = self.port.send(self.port.id(), Kind(10), 0, Payload::Empty);
        }
    }
}

/// Notes the longest mailbox, and handles slowly.
struct Slow {
    port: Port,
    longest: usize,
    handled: u64,
    tell: mpsc::Sender<usize>,
}

impl Actor for Slow {
    fn receive(&mut self, _: Message) {
        self.longest = self.longest.max(self.port.waiting());
        self.handled += 1;
        std::thread::sleep(Duration::from_micros(20));
        if self.handled == 2000 {
            let _ = self.tell.send(self.longest);
        }
    }
}

#[test]
fn a_full_mailbox_pauses_its_senders_and_loses_nothing() {
    for slow_on in 0..2 {
        let mailbox = MailboxLimits {
            messages: 100,
            hard: 100,
            ..MailboxLimits::default()
        };
        let (options, reports) = reporting(SystemOptions {
            mailbox,
            ..loops(2)
        });
        let system = System::start(options).expect("threads start");
        let (tell, told) = mpsc::channel();
        let launched = system.launch_actor(on(0), move |port| {
            // It begins when the other one is ready, since a mailbox that is not made yet has no bound.
            let session = port.next_session();
            let to = port
                .launch(on(slow_on), session, |port| {
                    port.ready();
                    Ok(Box::new(Slow {
                        port,
                        longest: 0,
                        handled: 0,
                        tell,
                    }))
                })
                .expect("there is a slot");
            Ok(Box::new(Flooder { port, to, sent: 0 }))
        });
        launched.expect("there is a slot");
        let longest = told.recv_timeout(PATIENCE).expect("all arrive");
        // From another loop a batch is on its way before the sender learns of it.
        assert!(longest <= [120, 2000][slow_on], "{longest} of 2000 waited");
        let reports = reports.lock().expect("not poisoned");
        let is_lost = |report: &&Report| matches!(report, Report::Lost { .. });
        assert_eq!(reports.iter().find(is_lost), None);
    }
}

#[test]
fn two_services_that_flood_each_other_go_on() {
    let mailbox = MailboxLimits {
        messages: 10,
        hard: 1000,
        ..MailboxLimits::default()
    };
    let system = System::start(SystemOptions {
        mailbox,
        ..loops(1)
    });
    let system = system.expect("threads start");
    let (tell, told) = mpsc::channel();
    /// Answers each message with one, and each tenth with two.
    struct Echo(Port, mpsc::Sender<()>, u64);
    impl Actor for Echo {
        fn receive(&mut self, message: Message) {
            self.2 += 1;
            if self.2 == 300 {
                let _ = self.1.send(());
            }
            if self.2 < 300 {
                for _ in 0..1 + u64::from(self.2.is_multiple_of(10)) {
                    let _ = self.0.send(message.source, Kind(10), 0, Payload::Empty);
                }
            }
        }
    }
    let other = tell.clone();
    let launched = system.launch_actor(on(0), move |port| {
        let echo = port
            .launch(on(0), 0, |port| Ok(Box::new(Echo(port, other, 0))))
            .expect("there is a slot");
        for _ in 0..15 {
            let _ = port.send(echo, Kind(10), 0, Payload::Empty);
        }
        Ok(Box::new(Echo(port, tell, 0)))
    });
    launched.expect("there is a slot");
    told.recv_timeout(PATIENCE).expect("one gets through");
}

#[test]
fn above_the_hard_limit_messages_are_refused_and_reported() {
    let mailbox = MailboxLimits {
        messages: 10,
        hard: 2,
        ..MailboxLimits::default()
    };
    let (options, reports) = reporting(SystemOptions {
        mailbox,
        ..loops(1)
    });
    let system = System::start(options).expect("threads start");
    let (tell, told) = mpsc::channel();
    let launched = system.launch_actor(on(0), move |port| {
        let me = port.id();
        let sent: Vec<bool> = (0..25)
            .map(|_| port.send(me, Kind(10), 0, Payload::Empty).is_ok())
            .collect();
        let _ = tell.send((me, sent.iter().filter(|sent| **sent).count()));
        port.exit();
        struct Nothing;
        impl Actor for Nothing {
            fn receive(&mut self, _: Message) {}
        }
        Ok(Box::new(Nothing))
    });
    launched.expect("there is a slot");
    let (me, sent) = told.recv_timeout(PATIENCE).expect("it runs");
    assert_eq!(sent, 20);
    system.wait();
    let lost = [1, 2, 4].map(|lost| Report::Lost {
        service: me,
        source: me,
        lost,
    });
    assert_eq!(*reports.lock().expect("not poisoned"), lost);
}
