//! A loop switches to another configuration, and no session ends by that.
//!
//! Most settings are read when they are needed, so the new ones apply at once. This file changes what was derived from
//! the old ones: sockets, timers, and what processes were told.

use std::io;
use std::sync::Arc;

use moorline_net::tls::server::ServerTls;

use crate::change::Setup;
use crate::event_loop::Loop;
use crate::ids::ListenerId;
use crate::input::slowloris;
use crate::memory::Class;
use crate::output::watermarks::weigh_anew;
use crate::session::{Phase, Session};
use crate::sockets::Socket;
use crate::tcp;
use crate::timeouts::watch_waits_anew;
use moorline_config::{Config, Listener};

impl Loop {
    /// Switches to this configuration. The order about the processes that serve by it follows.
    pub(crate) fn configure(&mut self, setup: Setup) {
        let Setup {
            config,
            sockets,
            tls,
            counted,
        } = setup;
        let before = std::mem::replace(&mut self.tools.cx.config, config);
        self.show(tls);
        self.relays.targets = self.tools.cx.shared.upstreams.targets();
        self.tools.cx.maps = self.relays.targets.maps.clone();
        self.tools.cx.servers = self.relays.targets.servers.clone();
        for (id, earlier) in (0..).map(ListenerId).zip(&before.listeners) {
            let listener = self.tools.cx.config.listeners.get(id.index());
            let is_over = listener.is_none_or(|listener| listener.is_retired);
            if listener.is_some_and(|listener| listener.name != earlier.name) {
                self.tools.cx.begin_counting(id);
            }
            if is_over && !self.is_still_heard(id, &self.tools.cx.config) {
                self.stop_listening(id);
            }
        }
        // While the engine stops there are no new connections.
        let sockets = match self.tools.cx.is_stopping() {
            true => Vec::new(),
            false => sockets,
        };
        for (id, socket) in sockets {
            if let Err(error) = self.listen(id, socket) {
                let listener = self.tools.cx.listener(id);
                tracing::error!(listener = %listener.name, %error, "cannot wait for connections");
            }
        }
        let config = self.tools.cx.config.clone();
        self.acceptor.gate.change(&config.listeners);
        self.go_over_to_timeouts(&before, &config);
        self.go_over_to_marks(&before, &config);
        self.let_hellos_go(&before, &config);
        self.note_targets(&before, &config);
        if before.engine.history_timeout != config.engine.history_timeout {
            self.watch_histories_anew();
        }
        self.go_over_to_tcp_options(&before, &config);
        self.begin_measuring(&before, &config, &counted);
        let cx = &self.tools.cx;
        if cx.index == 0 {
            // The loop that accepts.
            cx.shared.change(&config, cx.clock.shared_ms());
        }
        self.change_memory_limit();
    }

    /// Connections whose hello is not waited for any more go on.
    fn let_hellos_go(&mut self, before: &Config, config: &Config) {
        let waits = |listener: &Listener| listener.stream.preread.is_some();
        let mut pairs = before.listeners.iter().zip(&config.listeners);
        if !pairs.any(|(before, now)| waits(before) && !waits(now)) {
            return;
        }
        let agenda = &mut self.tools.agenda;
        for session in self.sessions.iter_mut() {
            let listener = config.listeners.get(session.listener.index());
            if session.phase == Phase::Preread && listener.is_some_and(|it| !waits(it)) {
                agenda.schedule(session);
            }
        }
    }

    /// Uses this TLS state for new connections.
    pub(crate) fn show(&mut self, tls: Arc<[Option<ServerTls>]>) {
        if tls.iter().any(Option::is_some) {
            self.tools.scratch.prepare_for_tls();
        }
        self.tools.cx.tls = tls;
    }

    /// Takes a listener's socket, and waits for its events. Connections that wait already are reported, too.
    pub(crate) fn listen(&mut self, listener: ListenerId, socket: Socket) -> io::Result<()> {
        self.stop_listening(listener);
        if let Socket::Stream(socket) = &socket {
            tcp::set_on(socket, &self.tools.cx.listener(listener).liveness);
        }
        if let Socket::Datagram {
            socket,
            receives: true,
        } = &socket
            && self.tools.cx.listener(listener).is_relay()
        {
            self.udp_relays.prepare(listener, socket);
        }
        self.acceptor.sockets.put(listener, socket);
        match self.acceptor.sockets.waited_for(listener) {
            Some(socket) => self.poller.watch_listener(listener, socket)?,
            None => return Ok(()),
        }
        self.mute_if_paused(listener);
        Ok(())
    }

    /// Drops a listener's socket.
    pub(crate) fn stop_listening(&mut self, listener: ListenerId) {
        if let Some(socket) = self.acceptor.sockets.waited_for(listener) {
            self.poller.ignore_listener(socket);
        }
        self.acceptor.sockets.take(listener);
    }

    /// Sessions whose listeners have other timeouts than before are watched by the new ones.
    fn go_over_to_timeouts(&mut self, before: &Config, after: &Config) {
        let changed = changed(before, after, |at| {
            let idle = (at.idle_timeout, at.receive_timeout, at.send_timeout);
            (idle, at.half_close_timeout, at.liveness.ping)
        });
        if !changed.contains(&true) {
            return;
        }
        self.watch_idle_relays();
        self.watch_udp_relays_anew();
        let is_affected = |session: &Session| {
            matches!(
                session.phase,
                Phase::Open | Phase::Ending(_) | Phase::Refused(_)
            ) && is_in(&changed, session.listener)
        };
        let (sessions, timers) = (&self.sessions, &mut self.tools.agenda.timers);
        timers.forget_waits(|name| sessions.named(name).is_some_and(is_affected));
        for session in self.sessions.iter_mut().filter(|it| is_affected(it)) {
            watch_waits_anew(session, &mut self.tools);
        }
    }

    /// Sessions whose listeners have other watermarks than before are weighed by the new ones.
    fn go_over_to_marks(&mut self, before: &Config, after: &Config) {
        let changed = changed(before, after, |at| (at.high_watermark, at.low_watermark));
        let is_affected = |session: &&mut Session| {
            session.output.queue.is_some() && is_in(&changed, session.listener)
        };
        for session in self.sessions.iter_mut().filter(is_affected) {
            weigh_anew(session, &mut self.tools);
        }
    }

    /// Sessions whose target was known from their listener note it, where the listener has others from now on.
    fn note_targets(&mut self, before: &Config, after: &Config) {
        let target = |at: &Listener| at.routes.only_session_path().map(str::to_owned);
        let changed = changed(before, after, target);
        if !changed.contains(&true) {
            return;
        }
        for session in self.sessions.iter_mut() {
            let listener = session.listener;
            if !is_in(&changed, listener) || !session.has_begun() {
                continue;
            }
            if let Some(target) = before.listeners[listener.index()]
                .routes
                .only_session_path()
                && session.app.request().is_empty()
            {
                let target = target.as_bytes().to_vec();
                let (before, after) = session.app.change(|state| state.request = target);
                self.tools.memory.change(Class::State, before, after);
            }
        }
    }

    /// The sockets of listeners that have other TCP options than before have those, and so have their sessions'.
    fn go_over_to_tcp_options(&mut self, before: &Config, after: &Config) {
        let changed = changed(before, after, |at| {
            (at.liveness.keepalive, at.liveness.user_timeout)
        });
        if !changed.contains(&true) {
            return;
        }
        for (id, listener) in (0..).map(ListenerId).zip(&after.listeners) {
            if is_in(&changed, id)
                && let Some(socket) = self.acceptor.sockets.stream(id)
            {
                tcp::set_on(socket, &listener.liveness);
            }
        }
        for relay in self.relays.iter() {
            let sockets = relay.sides.iter().filter_map(|side| side.socket.as_ref());
            for socket in sockets.filter(|_| is_in(&changed, relay.listener)) {
                tcp::set_on(socket, &self.tools.cx.listener(relay.listener).liveness);
            }
        }
        for session in self.sessions.iter() {
            if is_in(&changed, session.listener)
                && let Some(socket) = &session.transport.socket
            {
                tcp::set_on(socket, &self.tools.cx.listener(session.listener).liveness);
            }
        }
    }

    /// Counts and measures what the earlier configuration did not count or measure.
    fn begin_measuring(&mut self, before: &Config, after: &Config, counted: &[ListenerId]) {
        let shared = &self.tools.cx.shared;
        // A server's connections count where the socket is.
        let door = |listener: ListenerId| {
            let host = shared.admissions[listener.index()].host();
            let is_counted = match host.and_then(|it| u16::try_from(it).ok()) {
                Some(host) => counted.contains(&ListenerId(host)),
                None => counted.contains(&listener),
            };
            is_counted.then(|| shared.door(listener))
        };
        for session in self.sessions.iter_mut().filter(|it| !it.has_ended()) {
            if let Some(door) = door(session.listener) {
                door.count(&session.peer, &mut session.counted);
            }
        }
        for relay in self.relays.iter_mut() {
            if let Some(door) = door(relay.listener) {
                door.count(&relay.client, &mut relay.counted);
            }
        }
        for relay in self.udp_relays.iter_mut() {
            if let Some(door) = door(relay.client.listener) {
                door.count(&relay.shown, &mut relay.counted);
            }
        }
        let measures = changed(before, after, |at| at.min_receive_rate.is_some());
        let is_affected =
            |session: &&mut Session| is_in(&measures, session.listener) && session.is_owed_input();
        for session in self.sessions.iter_mut().filter(is_affected) {
            slowloris::watch(session, &mut self.tools);
        }
    }
}

/// For each earlier place, whether this value of its listener has changed.
fn changed<T: PartialEq>(
    before: &Config,
    after: &Config,
    of: impl Fn(&Listener) -> T,
) -> Vec<bool> {
    let pairs = before.listeners.iter().zip(&after.listeners);
    pairs
        .map(|(before, after)| of(before) != of(after))
        .collect()
}

fn is_in(list: &[bool], listener: ListenerId) -> bool {
    list.get(listener.index()) == Some(&true)
}
