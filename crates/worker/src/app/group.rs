//! Groups: sets of sessions, of any listener and worker, that are sent something together.

use std::fmt;
use std::rc::Rc;

use crate::Core;
use crate::app::{AskError, Context, SendError, Session, SizeLimit};
use crate::wire::{
    Answer, FromProcess, LARGEST_BROADCAST, LONGEST_NAME, MOST_LEFT_OUT, Question, TEXT,
};

/// A named set of sessions, in the gateway. It exists while it has members; a session that ends leaves by itself, and
/// reloads and crashes of workers do not change its members. Clones mean the same group.
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
    /// [`SendError::TooLarge`] for the group's name; else as [`Session::push`].
    pub fn join(&self, session: &Session) -> Result<(), SendError> {
        self.check_name()?;
        session.shared().request(FromProcess::Join, &self.name)
    }

    /// Takes a session out of the group. It still gets what was sent to the group before.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn leave(&self, session: &Session) -> Result<(), SendError> {
        self.check_name()?;
        session.shared().request(FromProcess::Leave, &self.name)
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

    /// All members of the group, with their labels. It asks the gateway for a page at a time, and
    /// returns a list as large as the group. Cancel-safe.
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
        // Both lengths are checked and fit.
        let mut payload = vec![self.name.len() as u8];
        payload.extend_from_slice(&self.name);
        payload.extend_from_slice(&(count as u16).to_le_bytes());
        for session in left_out {
            payload.extend_from_slice(&session.shared().id().to_le_bytes());
        }
        payload.extend_from_slice(bytes);
        self.core.broadcast(flags, &payload).await
    }

    fn check_name(&self) -> Result<(), SendError> {
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
