//! A loop goes over to another configuration, and no session of it ends by that.
//!
//! Most settings are looked up when they are needed, and so are the new ones from then on. Here is what was derived
//! from the old ones: sockets, timers, and what processes were told.

use super::event_loop::Loop;
use super::setup::Setup;
use crate::config::{Config, Listener};

impl Loop {
    /// Goes over to this configuration. Who serves by it is said next.
    pub(super) fn configure(&mut self, setup: Setup) {
        let Setup {
            config,
            sockets,
            tls,
            counted,
        } = setup;
        let before = std::mem::replace(&mut self.config, config);
        self.show(tls);
        for (place, _) in (0..).zip(&before.listeners) {
            let listener = self.config.listeners.get(usize::from(place));
            if listener.is_none_or(|listener| listener.is_retired) {
                self.stop_listening(place);
            }
        }
        // While the engine stops nobody connects any more.
        let sockets = if self.stop_at.is_some() {
            Vec::new()
        } else {
            sockets
        };
        for (place, socket) in sockets {
            if let Err(error) = self.listen(place, socket) {
                let listener = &self.config.listeners[usize::from(place)];
                tracing::error!(listener = %listener.name, %error, "cannot wait for connections");
            }
        }
        self.accept_gate.change(&self.config.listeners);
        let timeouts = |at: &Listener| {
            let idle = (at.idle_timeout, at.receive_timeout, at.send_timeout);
            (idle, at.half_close_timeout)
        };
        let marks = |at: &Listener| (at.high_watermark, at.low_watermark);
        let timeouts = changed(&before, &self.config, timeouts);
        let marks = changed(&before, &self.config, marks);
        if timeouts.contains(&true) {
            self.watch_by_new_timeouts(|place| is_in(&timeouts, place));
        }
        if marks.contains(&true) {
            let affected = self.table.iter().filter(|(_, session)| {
                session.outbound.is_some() && is_in(&marks, session.listener)
            });
            let keys: Vec<_> = affected.map(|(key, _)| key).collect();
            for key in keys {
                self.weigh_anew(key);
            }
        }
        self.begin_measuring(&before, &counted);
        if self.index == 0 {
            // The one that accepts.
            self.shared.change(&self.config);
        }
        self.change_memory_limit();
    }

    /// Counts and measures what was neither counted nor measured by the configuration before this one.
    fn begin_measuring(&mut self, before: &Config, counted: &[u16]) {
        for (_, session) in self.table.iter() {
            if counted.contains(&session.listener) {
                self.shared.admissions[usize::from(session.listener)].count(&session.peer);
            }
        }
        let measures = changed(before, &self.config, |at| at.min_receive_rate.is_some());
        if measures.contains(&true) {
            let owed = self.table.iter().filter(|(_, session)| {
                is_in(&measures, session.listener) && session.is_owed_input()
            });
            let owed: Vec<_> = owed.map(|(key, _)| key).collect();
            for key in owed {
                self.watch_trickle(key);
            }
        }
    }
}

/// For each place that there was, whether this of its listener is another now.
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

fn is_in(list: &[bool], place: u16) -> bool {
    list.get(usize::from(place)) == Some(&true)
}
