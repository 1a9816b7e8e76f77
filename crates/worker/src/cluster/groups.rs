//! What other nodes send to groups here.

use moorline_cluster::{Frame, FrameKind};
use tokio::time::timeout;

use super::ROOM_WITHIN;
use crate::app::{SendError, Session, SizeLimit};
use crate::neighbours::read_group_message;
use crate::wire::event::{EVENT, split_event};
use crate::wire::{FromProcess, LONGEST_NAME, TEXT};
use crate::{Core, EventDraft};

/// Gives a message of another node to the members of a group here, waiting for room, but not for ever.
pub(super) async fn broadcast(core: &Core, frame: &Frame) -> Result<(), SendError> {
    let message = read_group_message(&frame.payload).ok_or(SendError::BadEvent)?;
    let is_event = frame.header.aux == EVENT;
    if is_event && split_event(message.bytes).is_none() {
        return Err(SendError::BadEvent);
    }
    let given = async {
        if is_event {
            let draft = EventDraft {
                group: message.group,
                left_out: message.left_out,
                event: message.bytes,
            };
            core.broadcast_event(draft).await
        } else {
            core.broadcast(frame.header.flags & TEXT, &frame.payload)
                .await
        }
    };
    timeout(ROOM_WITHIN, given)
        .await
        .unwrap_or(Err(SendError::Full))
}

/// A session here joins or leaves a group.
pub(super) fn change(session: &Session, frame: &Frame) -> Result<(), SendError> {
    let group = &frame.payload;
    if group.len() > LONGEST_NAME {
        return Err(SendError::TooLarge {
            limit: SizeLimit::GroupName,
            size: group.len() as u64,
            max: LONGEST_NAME as u64,
        });
    }
    let kind = match frame.header.kind {
        FrameKind::Leave => FromProcess::Leave,
        _ => FromProcess::Join,
    };
    if kind == FromProcess::Join
        && let Some(neighbours) = session.shared().core().neighbours.get()
    {
        neighbours.presence().hint(group);
    }
    session.shared().request(kind, group)
}
