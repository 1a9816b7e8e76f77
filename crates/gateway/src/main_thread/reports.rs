//! The reports of the loops, and those that the supervisor gets.

use crate::commands::{Command, Report};
use crate::ids::ListenerId;
use crate::main_thread::Gateway;
use crate::refusal_log::KeptOut;
use crate::relay::loop_of;
use moorline_protocol::control::{FromRole, ListPlace, ProcessId};
use moorline_protocol::session_id::SessionId;

impl Gateway {
    /// Handles a report of a loop.
    pub(super) async fn pass_on(&mut self, report: Report) {
        match report {
            Report::Http {
                socket,
                listener,
                peer,
                arrival,
            } => {
                if let Some(Some(site)) = self.sites.get(listener.index()) {
                    site.clone().serve(socket, peer, arrival);
                    self.note_http();
                }
            }
            Report::Activated(index) => self.obeyed_activate(index).await,
            Report::Released(process) => self.loop_has_released(process).await,
            Report::Garbage(process, reason) => self.found_garbage(process, reason).await,
            Report::Sessions {
                index,
                question,
                rows,
                next,
            } => {
                let next = self.next_place(index, next);
                let some = FromRole::Sessions {
                    question,
                    rows,
                    next,
                };
                self.say(&some).await;
            }
            Report::Closed { question, is_there } => {
                let closed = FromRole::SessionClosed { question, is_there };
                self.say(&closed).await;
            }
            Report::Attached(process, result) => self.attached(process, result).await,
            Report::Waiting(index, counts) => {
                let counts = self.waiting.answered(usize::from(index), counts);
                self.say(&FromRole::Waiting(counts)).await;
            }
            Report::Refused(refused) => self.say(&self.refused(refused)).await,
            Report::Drained(number) => self.drained(number).await,
            Report::GoesOn => self.loop_goes_on().await,
            // Of a hand-over that was given up.
            Report::Requests(_)
            | Report::Stands
            | Report::Settled(..)
            | Report::HandedOver(_)
            | Report::TakenUp(..) => {}
            Report::Empty => {
                self.empty += 1;
                if self.empty == self.parties() {
                    self.say(&FromRole::Drained).await;
                }
            }
        }
    }

    /// One more loop has nothing of a process any more.
    async fn loop_has_released(&mut self, process: ProcessId) {
        let loops = self.released.entry(process).or_default();
        *loops += 1;
        if *loops == self.loops.len() {
            self.say(&FromRole::Released { process }).await;
        }
    }

    /// A loop has executed one more `Activate`. It is confirmed when all loops have.
    async fn obeyed_activate(&mut self, index: u8) {
        self.activated[usize::from(index)] += 1;
        while self.activated.iter().all(|obeyed| *obeyed > self.confirmed) {
            self.confirmed += 1;
            self.say(&FromRole::Activated).await;
        }
    }

    async fn found_garbage(&mut self, process: ProcessId, reason: String) {
        let name = self.name(process);
        tracing::error!("{name} wrote garbage into its ring: {reason}");
        self.say(&FromRole::Garbage { process, reason }).await;
    }

    /// What the supervisor learns of connections that limits keep out.
    fn refused(&self, refused: KeptOut) -> FromRole {
        let listener = self.config.listeners.get(refused.listener.index());
        FromRole::Refused {
            limit: refused.limit.as_str().to_owned(),
            listener: listener.map_or(String::new(), |it| it.name.clone()),
            address: refused.address.to_string(),
        }
    }

    /// Has a loop list some of its sessions. It reports them, so nothing here waits for it.
    pub(super) async fn list(&mut self, question: u64, from: ListPlace) {
        if let Some(inbox) = self.loops.get(usize::from(from.event_loop)) {
            let place = from.place;
            inbox.send(Command::List { question, place });
            return;
        }
        let (rows, next) = (Vec::new(), None);
        let none = FromRole::Sessions {
            question,
            rows,
            next,
        };
        self.say(&none).await;
    }

    /// Has the loop that an id belongs to close its session.
    pub(super) async fn close_session(&mut self, question: u64, id: SessionId) {
        let id = id.as_u64();
        match self.loops.get(loop_of(id)) {
            Some(inbox) => inbox.send(Command::Close { question, id }),
            None => {
                let is_there = false;
                let none = FromRole::SessionClosed { question, is_there };
                self.say(&none).await;
            }
        }
    }

    /// Has the loop that accepts leave out the listeners at these places.
    pub(super) fn stop_accepting(&self, places: Vec<u16>) {
        let listeners = places.into_iter().map(ListenerId).collect();
        if let Some(first) = self.loops.first() {
            first.send(Command::StopAccepting(listeners));
        }
    }

    /// The place to continue a list of sessions from, after a part from this loop.
    fn next_place(&self, index: u8, next: Option<u32>) -> Option<ListPlace> {
        let index = u16::from(index);
        let is_last = usize::from(index) + 1 == self.loops.len();
        let (event_loop, place) = match next {
            Some(place) => (index, place),
            None if is_last => return None,
            None => (index + 1, 0),
        };
        Some(ListPlace { event_loop, place })
    }
}
