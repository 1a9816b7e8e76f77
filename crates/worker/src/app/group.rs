//! Groups: sets of sessions, of any listener and worker, that are sent something together.

use std::fmt;
use std::rc::Rc;

use moorline_cluster::FrameKind;

use crate::Core;
use crate::EventDraft;
use crate::app::event::encode;
use crate::app::{AskError, Context, SendError, Session, SizeLimit};
use crate::neighbours::{GroupMessage, write_group_message};
use crate::session_id::SessionId;
use crate::wire::event::{EVENT, LONGEST_EVENT_ID};
use crate::wire::{
    Answer, FromProcess, LARGEST_BROADCAST, LONGEST_NAME, MOST_LEFT_OUT, Question, TEXT,
};

/// No event has this id.
const UNKNOWN_ID: &str = "\n";

/// A named set of sessions, in the gateway. It exists while it has members; a session that ends leaves by itself, and
/// reloads and crashes of workers do not change its members. Clones mean the same group.
///
/// ```no_run
/// use moorline_worker::app::{Result, Session};
///
/// async fn enter(session: &Session) -> Result {
///     let room = session.context().group("lobby");
///     room.join(session)?;
///     room.send_except("a newcomer", &[session.clone()]).await?;
///     println!("{} are here", room.members().await?.len());
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Group {
    core: Rc<Core>,
    name: Rc<[u8]>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// The session, whichever process serves it.
    pub session: Session,
    /// Its [label](Session::set_label); empty if it has none.
    pub label: Vec<u8>,
}

impl Context {
    /// The group of this name, up to 255 bytes.
    pub fn group(&self, name: impl AsRef<[u8]>) -> Group {
        Group {
            core: self.core().clone(),
            name: name.as_ref().into(),
        }
    }
}

impl Group {
    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Puts a session into the group, whichever process serves it. It does nothing if the session is a member. A session can be in
    /// 256 groups.
    ///
    /// # Errors
    /// [`SendError::TooLarge`] for the group's name; else as [`Session::push`]. A session of another node joins a moment after this
    /// has returned.
    pub fn join(&self, session: &Session) -> Result<(), SendError> {
        self.change(session, FromProcess::Join, FrameKind::Join)
    }

    /// Takes a session out of the group. It still gets what was sent to the group before.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn leave(&self, session: &Session) -> Result<(), SendError> {
        self.change(session, FromProcess::Leave, FrameKind::Leave)
    }

    /// Sends a message to all members that the group has when it reaches the gateway. It travels once for each loop of the
    /// gateway and is framed once for each framing.
    ///
    /// It does not wait for the watermarks of members: a slow member is closed at its listener's `hard_limit`. It waits while
    /// too many bytes of this process are on their way to groups. If it is dropped before its end, some members may get the
    /// message.
    ///
    /// # Errors
    /// [`SendError::TooLarge`] over 4 MiB. A member whose framing cannot carry it is skipped, with a warning in the log.
    ///
    /// In a cluster the message goes to each other node once. The members on this node are sent it first. If another node is not
    /// sent it, [`SendError::Unreachable`], [`SendError::Full`], after five seconds, or [`SendError::TooLarge`] tells why; and
    /// [`SendError::NotServing`] in [`start`](crate::app::App::start).
    pub async fn send(&self, bytes: impl AsRef<[u8]>) -> Result<(), SendError> {
        self.broadcast(bytes.as_ref(), 0, &[]).await
    }

    /// [`send`](Self::send) of text, for WebSocket members; for others it is the same.
    pub async fn send_text(&self, text: impl AsRef<str>) -> Result<(), SendError> {
        self.broadcast(text.as_ref().as_bytes(), TEXT, &[]).await
    }

    /// [`send`](Self::send) to all but these sessions, at most 1024.
    pub async fn send_except(
        &self,
        bytes: impl AsRef<[u8]>,
        left_out: &[Session],
    ) -> Result<(), SendError> {
        self.broadcast(bytes.as_ref(), 0, left_out).await
    }

    /// [`send_text`](Self::send_text) to all but these sessions, at most 1024.
    pub async fn send_text_except(
        &self,
        text: impl AsRef<str>,
        left_out: &[Session],
    ) -> Result<(), SendError> {
        self.broadcast(text.as_ref().as_bytes(), TEXT, left_out)
            .await
    }

    /// Sends an event to all members that the group has when it reaches the gateway; an empty id or name means that it has none.
    /// Members by server-sent events get all of it, WebSocket clients that speak `moorline.resume.v1` get it as JSON, and
    /// others its data as a text message.
    ///
    /// All members of a group, on whatever worker, get its events in one order. A group that
    /// [keeps its events](Self::keep_events) keeps this one, and gives it an id if it has none. There an id is that of one event: a
    /// second one with the id of an event that the group keeps is a repetition, which nobody gets.
    ///
    /// It waits as [`send`](Self::send) does, and until the gateway has the event; in
    /// [`start`](crate::app::App::start) it does not wait for that. What this process has sent before comes before it, and what it
    /// sends afterwards comes behind it. If it is dropped before its end, the event may be sent.
    ///
    /// # Errors
    /// [`SendError::TooLarge`] for an id of over 128 bytes, a name of over 64 bytes, data of over 4 MiB;
    /// [`SendError::BadEvent`]; [`SendError::Full`] at `memory_limit`; [`SendError::GatewayLost`].
    pub async fn send_event(
        &self,
        id: impl AsRef<str>,
        event: impl AsRef<str>,
        data: impl AsRef<str>,
    ) -> Result<(), SendError> {
        self.send_event_except(id, event, data, &[]).await
    }

    /// [`send_event`](Self::send_event) to all but these sessions, at most 1024. A session that a client of theirs opens later is
    /// another one, and gets what it missed.
    pub async fn send_event_except(
        &self,
        id: impl AsRef<str>,
        event: impl AsRef<str>,
        data: impl AsRef<str>,
        left_out: &[Session],
    ) -> Result<(), SendError> {
        self.check_name()?;
        let data = data.as_ref();
        check(SizeLimit::Broadcast, data.len(), LARGEST_BROADCAST)?;
        check(SizeLimit::LeftOut, left_out.len(), MOST_LEFT_OUT)?;
        let event = encode(id.as_ref(), event.as_ref(), data)?;
        let left_out: Vec<_> = left_out.iter().map(|it| it.shared().id()).collect();
        let message = GroupMessage {
            group: &self.name,
            left_out: left_out.clone(),
            bytes: &event,
        };
        let payload = write_group_message(&message);
        let draft = EventDraft {
            group: &self.name,
            left_out,
            event: &event,
        };
        self.core.broadcast_event(draft).await?;
        self.send_afar((0, EVENT), &payload).await
    }

    /// From now on the gateway keeps the last `events` events of the group, at most 10,000; with 0 it keeps none. A client
    /// that comes back gets those that it missed, by [`join_after`](Self::join_after). Only what
    /// [`send_event`](Self::send_event) sends is kept, not messages. Repeat it as you like: only the number changes.
    ///
    /// They are kept while workers are replaced and crash, and while the group has no members, until `history_timeout` after the
    /// last event and the last member. They are lost with the gateway. 4096 groups can keep events; one that is one too many
    /// keeps none, with a warning in the log. Bytes are bounded by `history_memory`: the group without an event for the
    /// longest time forgets its events first.
    ///
    /// # Errors
    /// [`SendError::TooLarge`] for the group's name; [`SendError::Full`] if the queue to the gateway has reached its bound.
    pub fn keep_events(&self, events: usize) -> Result<(), SendError> {
        self.check_name()?;
        let events = u32::try_from(events).unwrap_or(u32::MAX).to_le_bytes();
        self.core.keep_events(&events, &self.name)
    }

    /// Puts a session into the group, like [`join`](Self::join), and sends it the events that its client missed: those behind
    /// the one with the id `last_id`, which [`Request::last_event_id`](crate::app::Request::last_event_id) tells. The session gets
    /// each event once and in order, whatever is sent meanwhile. An empty id means that the client has none:
    /// [`join_with_history`](Self::join_with_history).
    ///
    /// If the group does not keep the event of that id (any more), the session is notified of a gap and gets all that is kept. It
    /// also gets no more than half of its listener's `hard_limit` at once, and is notified of a gap if that is not all. A gap is
    /// an event named `gap` with the group's name as data; by `moorline.resume.v1` it is `{"gap":"<name>"}`; other sessions are
    /// not told. If the session is a member, nothing happens.
    ///
    /// # Errors
    /// As [`join`](Self::join). An id that no event can have is an unknown one: it may come from a client.
    pub fn join_after(&self, session: &Session, last_id: impl AsRef<str>) -> Result<(), SendError> {
        self.check_name()?;
        let last_id = last_id.as_ref();
        let last_id = match last_id.len() <= LONGEST_EVENT_ID {
            true => last_id,
            false => UNKNOWN_ID,
        };
        let payload = [&[self.name.len() as u8], &*self.name, last_id.as_bytes()].concat();
        self.hint();
        session.shared().request(FromProcess::JoinAfter, &payload)
    }

    /// Puts a session into the group, like [`join`](Self::join), and sends it all events that the group keeps, then those that come.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn join_with_history(&self, session: &Session) -> Result<(), SendError> {
        self.join_after(session, "")
    }

    /// All members of the group, with their labels. It asks the gateway for a page at a time, and
    /// returns a list as large as the group. Cancel-safe.
    ///
    /// In a cluster the members on other nodes follow those on this one, as these nodes have announced them: a change is known
    /// everywhere after about a tenth of a second. Those of nodes that have just come are waited for, for a second at most. While
    /// NATS is away they are those that were known last.
    ///
    /// # Errors
    /// [`AskError::Full`] and [`AskError::GatewayLost`].
    pub async fn members(&self) -> Result<Vec<Member>, AskError> {
        let mut members = Vec::new();
        for link in 0..self.core.outbox.links() {
            let mut from = Some(0);
            while let Some(place) = from {
                let question = Question::Members(self.name.to_vec(), place);
                let Answer::Members(page, next) = self.core.ask(link, &question)?.await? else {
                    return Err(AskError::GatewayLost);
                };
                members.extend(page.into_iter().map(|(id, label)| Member {
                    session: self.core.sessions.any(&self.core, id),
                    label,
                }));
                from = next;
            }
        }
        if let Some(neighbours) = self.core.neighbours.get() {
            neighbours.presence().known().await;
            let far = neighbours.presence().members(&self.name).into_iter();
            // A node speaks for its own sessions only.
            let far = far.filter(|(node, id, _)| SessionId::from(*id).node() == *node);
            members.extend(far.map(|(_, id, label)| Member {
                session: self.core.sessions.any(&self.core, id),
                label,
            }));
        }
        Ok(members)
    }

    async fn broadcast(
        &self,
        bytes: &[u8],
        flags: u8,
        left_out: &[Session],
    ) -> Result<(), SendError> {
        self.check_name()?;
        let count = left_out.len();
        check(SizeLimit::Broadcast, bytes.len(), LARGEST_BROADCAST)?;
        check(SizeLimit::LeftOut, count, MOST_LEFT_OUT)?;
        let payload = write_group_message(&GroupMessage {
            group: &self.name,
            left_out: left_out.iter().map(|it| it.shared().id()).collect(),
            bytes,
        });
        self.core.broadcast(flags, &payload).await?;
        self.send_afar((flags, 0), &payload).await
    }

    /// Sends to the members on other nodes what those on this one have been sent.
    async fn send_afar(&self, form: (u8, u16), payload: &[u8]) -> Result<(), SendError> {
        let Some(neighbours) = self.core.neighbours.get() else {
            return Ok(());
        };
        if self.core.commitment.is_deadlocked() {
            return Err(SendError::NotServing);
        }
        self.core.commitment.committed().await;
        Ok(neighbours.broadcast(&self.name, form, payload).await?)
    }

    fn change(
        &self,
        session: &Session,
        kind: FromProcess,
        afar: FrameKind,
    ) -> Result<(), SendError> {
        self.check_name()?;
        let session = session.shared();
        match session.is_remote() {
            true => session.group_afar(afar, &self.name),
            false => {
                if kind == FromProcess::Join {
                    self.hint();
                }
                session.request(kind, &self.name)
            }
        }
    }

    /// What it is made of.
    pub(super) fn parts(&self) -> (&Rc<Core>, &Rc<[u8]>) {
        (&self.core, &self.name)
    }

    /// Other nodes send here what they send to the group, also before they know of the member.
    fn hint(&self) {
        if let Some(neighbours) = self.core.neighbours.get() {
            neighbours.presence().hint(&self.name);
        }
    }

    pub(super) fn check_name(&self) -> Result<(), SendError> {
        check(SizeLimit::GroupName, self.name.len(), LONGEST_NAME)
    }
}

fn check(limit: SizeLimit, size: usize, max: usize) -> Result<(), SendError> {
    let (size, max) = (size as u64, max as u64);
    if size > max {
        return Err(SendError::TooLarge { limit, size, max });
    }
    Ok(())
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = String::from_utf8_lossy(&self.name);
        f.debug_struct("Group").field("name", &name).finish()
    }
}
