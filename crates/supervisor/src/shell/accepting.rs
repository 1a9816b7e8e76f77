//! Listeners that accept no connections, by an order.

use moorline_config::Listener;
use moorline_protocol::command::Response;
use moorline_protocol::control::ToRole;
use tracing::info;

use super::super::control_socket::Answers;
use super::Shell;

impl Shell {
    /// Has a listener accept connections, or none.
    pub(super) fn accept(&mut self, listener: String, accepts: bool, answers: &Answers) {
        if let Err(reason) = self.can_stop(&listener) {
            answers.give(Response::Refused(reason));
            return;
        }
        let text = match accepts {
            true => {
                self.stopped_listeners.remove(&listener);
                format!("{listener} accepts connections")
            }
            false => {
                self.stopped_listeners.insert(listener.clone());
                format!("{listener} accepts no connections until it is told to")
            }
        };
        info!(listener, "{text}");
        self.tell_stopped_listeners();
        answers.give(Response::Done(text));
    }

    /// Whether it is a listener that accepts connections of its own.
    fn can_stop(&self, name: &str) -> Result<(), String> {
        let mut named = self.named(name)?.into_iter().map(|(_, it)| it);
        match named.find(|it| it.is_bound()) {
            Some(it) if it.is_datagram() => {
                Err(format!("{name} receives datagrams, not connections"))
            }
            Some(_) => Ok(()),
            None => Err(format!(
                "{name} has no socket of its own: name the listener whose address it has"
            )),
        }
    }

    /// Tells the gateway which listeners accept nothing: when that changes, and when their places may have changed.
    pub(super) fn tell_stopped_listeners(&mut self) {
        let mut places = Vec::new();
        let mut known = std::mem::take(&mut self.stopped_listeners);
        known.retain(|name| {
            let named = self.named(name).unwrap_or_default().into_iter();
            let bound = named.filter(|(_, it)| it.is_bound()).map(|(at, _)| at);
            let before = places.len();
            places.extend(bound);
            places.len() > before
        });
        self.stopped_listeners = known;
        let cleared = self.others.cleared.iter();
        for name in cleared.filter(|name| !self.stopped_listeners.contains(*name)) {
            let named = self.named(name).unwrap_or_default().into_iter();
            places.extend(named.filter(|(_, it)| it.is_bound()).map(|(at, _)| at));
        }
        self.send_gateway(&ToRole::StopAccepting { places });
    }

    /// The listeners with this name, and their places.
    fn named(&self, name: &str) -> Result<Vec<(u16, &Listener)>, String> {
        let places = self.places(name)?;
        let [generation, _] = self.plan.generations();
        let present = self.deployments.get(&generation);
        let listeners = present.map(|present| &present.config.listeners);
        let at = |place: u16| Some((place, listeners?.get(usize::from(place))?));
        Ok(places.into_iter().filter_map(at).collect())
    }
}
