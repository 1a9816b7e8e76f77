//! The operator of a random run: reloads that change the configuration, drains, a stop.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use super::{Crowd, LISTENERS, ROUND_ROBIN};
use crate::change::Setup;
use crate::commands::{Command, Order, Report};
use crate::ids::ListenerId;
use crate::sockets::Socket;
use moorline_config::Listener;

/// Listeners at the most; those of a removed one keep its place.
const MOST_LISTENERS: u16 = 10;
/// Steps after the order to stop. Time goes on by some seconds meanwhile.
const STEPS_OF_STOP: u32 = 300;

/// The orders of the operator, and the reports about them.
#[derive(Debug, Default)]
pub(super) struct Operator {
    /// Drains and stops that were ordered.
    orders: u64,
    /// The last of them that the loop has reported to be over.
    drained: u64,
    /// The loop has reported that no session is left.
    is_empty: bool,
}

impl Operator {
    pub(super) fn hear(&mut self, report: &Report) {
        match report {
            Report::Drained(number) => {
                assert!(*number > self.drained, "drain {number} has ended twice");
                self.drained = *number;
            }
            Report::Empty => {
                assert!(!self.is_empty, "it was empty twice");
                self.is_empty = true;
            }
            _ => {}
        }
    }
}

impl Crowd {
    /// The place of a listener that accepts.
    pub(super) fn listener(&mut self) -> u16 {
        let listeners = (0..).zip(&self.script.config.listeners);
        let open: Vec<u16> = listeners
            .filter(|(_, listener)| !listener.is_retired)
            .map(|(place, _)| place)
            .collect();
        self.rng.choice(open).expect("one is always open")
    }

    /// Another configuration, as a reload that is about to be committed brings it: other limits, and perhaps a listener
    /// that is new, or removed, or there again.
    pub(super) fn change(&mut self) -> Setup {
        let mut config = (*self.script.config).clone();
        for listener in &mut config.listeners {
            if self.rng.bool() {
                self.change_limits(listener);
            }
        }
        if config.engine.memory_limit.is_some() {
            config.engine.memory_limit = Some(self.rng.u64(512..2048) * 1024);
        }
        let mut new = None;
        let count = config.listeners.len() as u16;
        let place = self.rng.u16(0..MOST_LISTENERS);
        let open = config.listeners.iter().filter(|it| !it.is_retired).count();
        match config.listeners.get_mut(usize::from(place)) {
            None => {
                let like = self.rng.u16(0..LISTENERS);
                // Where messages may be dropped is known by its place.
                let like = if like == ROUND_ROBIN { 0 } else { like };
                let mut listener = config.listeners[usize::from(like)].clone();
                listener.name = format!("new-{count}");
                listener.is_retired = false;
                config.listeners.push(listener);
                new = Some(count);
            }
            Some(listener) if listener.is_retired => {
                let admission = &self.script.gateway.tools.cx.shared.admissions[usize::from(place)];
                // As the supervisor does: a place is free when its last session has ended.
                listener.is_retired = admission.connections() > 0;
                new = (!listener.is_retired).then_some(place);
            }
            Some(listener) => listener.is_retired = open > 2,
        }
        let socket = |place| {
            let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
            (ListenerId(place), Socket::Stream(socket.into()))
        };
        let config = Arc::new(config);
        self.script.config = config.clone();
        let counted = self.script.gateway.tools.cx.shared.prepare(&config, 0);
        Setup {
            sockets: new.map(socket).into_iter().collect(),
            tls: config.listeners.iter().map(|_| None).collect(),
            counted: counted.into(),
            config,
        }
    }

    fn change_limits(&mut self, listener: &mut Listener) {
        let rng = &mut self.rng;
        let mut time = || {
            let seconds = rng.u64(5..40);
            (seconds < 30).then_some(Duration::from_secs(seconds))
        };
        listener.idle_timeout = time();
        listener.receive_timeout = time();
        listener.send_timeout = time();
        listener.half_close_timeout = time().unwrap_or(Duration::from_secs(300));
        listener.high_watermark = rng.u64(8..1024) * 1024;
        listener.low_watermark = listener.high_watermark / rng.u64(1..8);
        listener.min_receive_rate = rng.bool().then_some(1024);
        // More than there ever are: what matters is that they are counted, or no more.
        listener.max_sessions_per_address = rng.bool().then_some(100_000);
    }

    /// Sessions of one listener, or all, close over a time.
    pub(super) fn drain(&mut self) {
        let listener = ListenerId(self.listener());
        let listeners = self.rng.bool().then(|| vec![listener]);
        let order = self.order(listeners);
        self.script.command(Command::Drain(order));
    }

    fn order(&mut self, listeners: Option<Vec<ListenerId>>) -> Box<Order> {
        self.operator.orders += 1;
        Box::new(Order {
            number: self.operator.orders,
            over: Duration::from_millis(self.rng.u64(0..1500)),
            max_wait: Duration::from_millis(self.rng.u64(0..1500)),
            listeners,
            seed: self.rng.u64(..),
        })
    }

    /// All do what they do, while the loop stops; in the end there is no session any more.
    pub(super) fn stop(&mut self) {
        let order = self.order(None);
        self.script.command(Command::Stop(order));
        self.is_stopping = true;
        for _ in 0..STEPS_OF_STOP {
            self.step();
            self.turn();
        }
        self.pass(Duration::from_secs(5));
        assert!(self.operator.is_empty, "it is not reported to be empty");
        let open: Vec<_> = self.clients.iter().filter(|it| it.is_open()).collect();
        assert!(open.is_empty(), "connections outlive the stop: {open:?}");
    }

    /// Lets this time pass, and what is due in it be done. The last drain is over by then.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.script.now + time.as_millis() as u64;
        while self.script.now < end {
            self.script.now += 100;
            self.script.settle(&mut self.clients);
            self.hear_reports();
        }
        assert_eq!(self.operator.drained, self.operator.orders, "drains");
    }
}
