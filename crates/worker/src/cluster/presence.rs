//! What this node tells others of the members of its groups, and what they tell.

use std::future::pending;
use std::rc::Rc;

use moorline_cluster::{Membership, PresenceLink, PresenceUser};

use super::report;
use crate::Core;
use crate::presence::WantsPresence;

/// Those that watch groups here.
pub(super) struct FarMembers(pub(super) Rc<Core>);

impl PresenceUser for FarMembers {
    fn changed(&self, changes: &[Membership]) {
        for membership in changes {
            self.0.presence.changed(membership);
        }
    }
}

/// Announces the members of this node while this process is its leader.
pub(super) async fn lead(core: Rc<Core>, presence: Rc<PresenceLink>) {
    core.commitment.committed().await;
    loop {
        core.commitment.until_leads(true).await;
        let wants = WantsPresence::new(&core.presence);
        let announcing = async {
            core.presence.known().await;
            presence.begin(core.presence.local().iter());
            report(presence.announce().await);
            pending::<()>().await;
        };
        tokio::select! {
            () = announcing => {}
            () = core.commitment.until_leads(false) => {}
        }
        presence.end();
        drop(wants);
    }
}
