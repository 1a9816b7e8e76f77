//! How this process follows the members of groups in its gateway: it reads all memberships once, then what changes.

use std::rc::Rc;
use std::time::Duration;

use moorline_cluster::{Membership, PresenceLink};
use rustc_hash::FxHashSet;
use tokio::time::sleep;

use crate::Core;
use crate::app::AskError;
use crate::session_id::SessionId;
use crate::wire::{Answer, GroupPlace, Question};

/// How often a loop is asked what has changed. It costs a loop that has nothing to tell some microseconds.
const ASKS_AGAIN: Duration = Duration::from_millis(100);

/// How far a loop's changes are known.
#[derive(Debug, Default)]
struct LogPlace {
    log: u64,
    after: u64,
}

/// Follows the gateway while somebody wants it, without end.
pub(crate) async fn follow(core: Rc<Core>) {
    core.commitment.committed().await;
    let presence = &core.presence;
    let mut has_told = false;
    loop {
        presence.wanted().await;
        let mut places = Vec::new();
        while presence.is_wanted() {
            if read_loops(&core, &mut places).await.is_ok() {
                presence.set_known();
            }
            let far = core.far_members();
            if !has_told && far.is_some_and(PresenceLink::is_partial) {
                has_told = true;
                tracing::warn!(
                    "groups have more members on this node than it tells to others: these do not list all of them"
                );
            }
            let again = presence.begin_again();
            if far.is_some_and(PresenceLink::begin_again) || again {
                // All is read again, and with it those that were left out.
                places.clear();
            }
            sleep(ASKS_AGAIN).await;
        }
        presence.forget();
    }
}

/// Reads what is new of all loops.
async fn read_loops(core: &Core, places: &mut Vec<LogPlace>) -> Result<(), AskError> {
    let links = core.outbox.links();
    places.resize_with(links, LogPlace::default);
    for (link, place) in places.iter_mut().enumerate() {
        while read_changes(core, link, place).await? {}
    }
    Ok(())
}

/// Reads what is new of a loop. True: there is more.
async fn read_changes(core: &Core, link: usize, place: &mut LogPlace) -> Result<bool, AskError> {
    let question = Question::GroupChanges {
        log: place.log,
        after: place.after,
    };
    let answer = core.ask(link, &question)?.await?;
    let Answer::GroupChanges {
        log,
        until,
        has_more,
        changes,
    } = answer
    else {
        return Err(AskError::GatewayLost);
    };
    match changes {
        Some(changes) => {
            for GroupPlace {
                group,
                session,
                label,
            } in changes
            {
                let membership = Membership {
                    group,
                    session,
                    label,
                };
                core.presence.set_local(core.far_members(), &membership);
            }
        }
        None => read_all(core, link).await?,
    }
    *place = LogPlace { log, after: until };
    Ok(has_more)
}

/// Reads all memberships of a loop. What has changed meanwhile comes with the next changes.
async fn read_all(core: &Core, link: usize) -> Result<(), AskError> {
    let mut fresh = FxHashSet::default();
    let mut from = Some(0);
    while let Some(place) = from {
        let answer = core.ask(link, &Question::Memberships(place))?.await?;
        let Answer::Memberships(page, next) = answer else {
            return Err(AskError::GatewayLost);
        };
        for row in page {
            for group in row.groups {
                let membership = Membership {
                    group,
                    session: row.session,
                    label: Some(row.label.clone()),
                };
                core.presence.set_local(core.far_members(), &membership);
                fresh.insert((membership.group, row.session));
            }
        }
        from = next;
    }
    let is_old = |it: &Membership| {
        SessionId::from(it.session).event_loop() == link
            && !fresh.contains(&(it.group.clone(), it.session))
    };
    let old: Vec<_> = core.presence.local().iter().filter(is_old).collect();
    for membership in old {
        let gone = Membership {
            label: None,
            ..membership
        };
        core.presence.set_local(core.far_members(), &gone);
    }
    Ok(())
}
