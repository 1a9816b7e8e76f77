//! Who joins and leaves a group.

use std::fmt;
use std::rc::Rc;

use crate::Core;
use crate::app::{Group, Member, SendError};
use crate::presence::{WantsPresence, WatchedGroup};

/// What is new of a group's members.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemberChange {
    /// This one has joined.
    Joined(Member),
    /// This one has another label now.
    Relabelled(Member),
    /// This one has left; it has the label that it had.
    Left(Member),
}

/// Who joins and leaves a group, on all nodes, from [`Group::watch`]. Dropping it ends the watch.
pub struct GroupWatch {
    core: Rc<Core>,
    name: Rc<[u8]>,
    watched: Rc<WatchedGroup>,
    _wants: WantsPresence,
}

impl Group {
    /// Watches who joins and leaves the group, on this node and, in a cluster, on all others.
    ///
    /// Those that are members at the beginning are the first to join. Afterwards each change comes once, about a tenth of a second
    /// after it happened. If something changes again before it is read, only the outcome is told, so a slow reader holds no more
    /// than the members. Members of a node that is lost leave, and join again when it is back. While NATS is away nothing is told
    /// of other nodes; afterwards what has changed meanwhile is.
    ///
    /// A node tells others of 131,072 memberships of its sessions; those beyond are not shown elsewhere.
    ///
    /// ```no_run
    /// # use moorline_worker::app::{Context, MemberChange, Result};
    /// # async fn follow(context: Context) -> Result {
    /// let mut watch = context.group("lobby").watch()?;
    /// loop {
    ///     match watch.next().await {
    ///         MemberChange::Joined(member) => println!("{} is here", member.session.id()),
    ///         MemberChange::Left(member) => println!("{} has left", member.session.id()),
    ///         _ => {}
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SendError::TooLarge`] for the group's name.
    pub fn watch(&self) -> Result<GroupWatch, SendError> {
        self.check_name()?;
        let (core, name) = self.parts();
        Ok(GroupWatch {
            watched: core.presence.watch(core.far_members(), name),
            _wants: WantsPresence::new(&core.presence),
            core: core.clone(),
            name: name.clone(),
        })
    }
}

impl GroupWatch {
    /// The next change. It waits for one as long as it takes. Cancel-safe.
    pub async fn next(&mut self) -> MemberChange {
        loop {
            let core = &self.core;
            let label = |session| {
                let far = core.far_members();
                core.presence.label(core.node, far, &self.name, session)
            };
            let news = self.watched.next(label).await;
            let member = |label| Member {
                session: self.core.sessions.any(&self.core, news.session),
                label,
            };
            match (news.before, news.now) {
                (None, Some(label)) => return MemberChange::Joined(member(label)),
                (Some(_), Some(label)) => return MemberChange::Relabelled(member(label)),
                (Some(label), None) => return MemberChange::Left(member(label)),
                (None, None) => {}
            }
        }
    }
}

impl Drop for GroupWatch {
    fn drop(&mut self) {
        self.core.presence.unwatch(&self.name, &self.watched);
    }
}

impl fmt::Debug for GroupWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = String::from_utf8_lossy(&self.name);
        f.debug_struct("GroupWatch").field("group", &name).finish()
    }
}
