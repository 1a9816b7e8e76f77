//! Groups of sessions, and what is said to them.

use std::time::Duration;

use moorline::{Context, MemberChange, Result, Session, SessionId};

use super::answers::outcome;
use super::order::Order;

/// The commands about this.
pub(super) const COMMANDS: &[&str] = &[
    "join",
    "leave",
    "join-other",
    "leave-other",
    "members",
    "label",
    "labels",
    "members-count",
    "watch",
    "say",
    "say-others",
    "say-much",
    "say-and-tell",
    "say-and-leave",
    "keep-events",
    "event",
    "event-and-tell",
];

/// Carries out one of them.
pub(super) async fn obey(order: &mut Order<'_>) -> Result<Option<String>> {
    let Order {
        session,
        context,
        rest,
        ..
    } = *order;
    Ok(Some(match order.command {
        "join" => outcome(context.group(rest).join(session)),
        "leave" => outcome(context.group(rest).leave(session)),
        "join-other" => {
            let other = context.session(order.word().parse()?);
            outcome(context.group(order.word()).join(&other))
        }
        "leave-other" => {
            let other = context.session(order.word().parse()?);
            outcome(context.group(order.word()).leave(&other))
        }
        "members" => {
            let mut ids: Vec<SessionId> = context
                .group(rest)
                .members()
                .await?
                .iter()
                .map(|member| member.session.id())
                .collect();
            ids.sort_unstable();
            format!("{ids:?}")
        }
        "label" => outcome(session.set_label(rest)),
        "labels" => {
            let members = context.group(rest).members().await?;
            let mut labels: Vec<_> = members
                .iter()
                .map(|member| String::from_utf8_lossy(&member.label))
                .collect();
            labels.sort_unstable();
            labels.join(" ")
        }
        "members-count" => context.group(rest).members().await?.len().to_string(),
        "watch" => {
            watch(context, session, rest)?;
            "watching".to_owned()
        }
        _ => return speak(order).await,
    }))
}

/// Tells a session what changes among the members of a group.
fn watch(context: &Context, session: &Session, group: &str) -> Result {
    let (mut watch, session) = (context.group(group).watch()?, session.clone());
    let tell = async move |_: Context| {
        loop {
            let (how, member) = match watch.next().await {
                MemberChange::Joined(member) => ("joined", member),
                MemberChange::Relabelled(member) => ("relabelled", member),
                MemberChange::Left(member) => ("left", member),
                other => panic!("an unknown change: {other:?}"),
            };
            let label = String::from_utf8_lossy(&member.label).into_owned();
            if session.send(format!("{how} {label}")).await.is_err() {
                break;
            }
        }
    };
    context.after(Duration::ZERO, tell).detach();
    Ok(())
}

/// Says something to a group.
async fn speak(order: &mut Order<'_>) -> Result<Option<String>> {
    let Order {
        session, context, ..
    } = *order;
    Ok(Some(match order.command {
        "say" => {
            let group = context.group(order.word());
            return match group.send_text(order.others()).await {
                Ok(()) => Ok(None),
                Err(error) => Ok(Some(format!("{error:?}"))),
            };
        }
        "say-others" => {
            let group = context.group(order.word());
            let text = order.others();
            outcome(group.send_except(text, std::slice::from_ref(session)).await)
        }
        "say-much" => {
            let (group, count, size): (_, u32, usize) = (
                context.group(order.word()),
                order.word().parse()?,
                order.word().parse()?,
            );
            for _ in 0..count {
                group.send(vec![b'm'; size]).await?;
            }
            "said".to_owned()
        }
        "say-and-tell" => {
            let (group, text) = (context.group(order.word()), order.word());
            group.send(format!("{text} to all")).await?;
            return Ok(Some(format!("{text} to you")));
        }
        "say-and-leave" => {
            let (name, text) = (order.word(), order.word());
            let group = context.group(name);
            group.send(text).await?;
            group.leave(session)?;
            group.send("not for those that have left").await?;
            return Ok(None);
        }
        _ => return send_events(order).await,
    }))
}

/// Sends a group events, or has it keep them.
async fn send_events(order: &mut Order<'_>) -> Result<Option<String>> {
    let context = order.context;
    Ok(Some(match order.command {
        "keep-events" => {
            let group = context.group(order.word());
            outcome(group.keep_events(order.word().parse()?))
        }
        "event" => {
            let (group, id) = (context.group(order.word()), order.word());
            let id = if id == "-" { "" } else { id };
            outcome(group.send_event(id, "said", order.others()).await)
        }
        "event-and-tell" => {
            // Both go to one session, and nothing may pass the other.
            let (group, id) = (context.group(order.word()), order.word());
            let other = context.session(id.parse()?);
            for at in 0..50 {
                other.send_text(format!("before {at}")).await?;
                group.send_event("", "", format!("event {at}")).await?;
                other.send_text(format!("after {at}")).await?;
            }
            "told".to_owned()
        }
        _ => return Err("an unknown command".into()),
    }))
}
