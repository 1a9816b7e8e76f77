//! Messages to the members of groups on other nodes.

use std::future::{Future, poll_fn};
use std::hash::BuildHasher;
use std::task::Poll;

use moorline_cluster::{FrameDraft, FrameKind, Node, OfferError};
use rustc_hash::FxBuildHasher;

use super::Neighbours;
use crate::wire::{LARGEST_BROADCAST, LONGEST_NAME, MOST_LEFT_OUT};

/// A message to a group. Its parts are within their limits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct GroupMessage<'a> {
    pub(crate) group: &'a [u8],
    /// The ids of the sessions to leave out.
    pub(crate) left_out: Vec<u64>,
    pub(crate) bytes: &'a [u8],
}

/// A message as it travels, to the gateway and to other nodes.
pub(crate) fn write_group_message(message: &GroupMessage<'_>) -> Vec<u8> {
    let left_out = &message.left_out;
    let mut payload =
        Vec::with_capacity(3 + message.group.len() + 8 * left_out.len() + message.bytes.len());
    payload.push(message.group.len() as u8);
    payload.extend_from_slice(message.group);
    payload.extend_from_slice(&(left_out.len() as u16).to_le_bytes());
    for id in left_out {
        payload.extend_from_slice(&id.to_le_bytes());
    }
    payload.extend_from_slice(message.bytes);
    payload
}

/// What was written; `None` for anything that no node writes.
pub(crate) fn read_group_message(payload: &[u8]) -> Option<GroupMessage<'_>> {
    let (length, rest) = payload.split_first()?;
    let (group, rest) = rest.split_at_checked(usize::from(*length))?;
    let (count, rest) = rest.split_first_chunk::<2>()?;
    let count = usize::from(u16::from_le_bytes(*count));
    let (ids, bytes) = rest.split_at_checked(count * size_of::<u64>())?;
    let ids = ids.as_chunks().0.iter();
    let is_fit =
        group.len() <= LONGEST_NAME && count <= MOST_LEFT_OUT && bytes.len() <= LARGEST_BROADCAST;
    is_fit.then(|| GroupMessage {
        group,
        left_out: ids.map(|id| u64::from_le_bytes(*id)).collect(),
        bytes,
    })
}

impl Neighbours {
    /// Sends a message to the members of a group on all other nodes: once to each node that may have some, waiting for room, but not
    /// without end. If one node is slow, the others have it all the same.
    ///
    /// # Errors
    /// Some node was not sent it: why.
    pub(crate) async fn broadcast(
        &self,
        group: &[u8],
        (flags, aux): (u8, u16),
        payload: &[u8],
    ) -> Result<(), OfferError> {
        let nodes = self.link.nodes();
        if nodes.is_empty() && !self.link.is_up() {
            return Err(OfferError::Unreachable);
        }
        let draft = |node| FrameDraft {
            node,
            kind: FrameKind::Broadcast,
            flags,
            aux,
            // The messages to a group go one way, and so stay in order.
            session: FxBuildHasher.hash_one(group),
            payload,
        };
        let mut done = Ok(());
        let mut note = |sent: Result<(), OfferError>| match sent {
            // Its members have gone with it.
            Ok(()) | Err(OfferError::Gone) => {}
            Err(error) => done = Err(error),
        };
        let mut waiting = Vec::new();
        let may_have = |node: &Node| self.presence.may_have(node.number, group);
        for node in nodes.into_iter().filter(may_have) {
            match self.link.offer(draft(node.number)) {
                Err(OfferError::Full) => {
                    waiting.push(Box::pin(self.link.send(draft(node.number))));
                }
                offered => note(offered),
            }
        }
        poll_fn(|cx| {
            waiting.retain_mut(|send| match send.as_mut().poll(cx) {
                Poll::Ready(sent) => {
                    note(sent);
                    false
                }
                Poll::Pending => true,
            });
            match waiting.is_empty() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
        drop(waiting);
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_back_and_no_beginning_of_it_is_one() {
        let message = GroupMessage {
            group: b"lobby",
            left_out: vec![1, u64::MAX],
            bytes: b"",
        };
        let payload = write_group_message(&message);
        assert_eq!(read_group_message(&payload), Some(message));
        for end in 0..payload.len() {
            assert_eq!(read_group_message(&payload[..end]), None);
        }
    }

    #[test]
    fn more_sessions_to_leave_out_than_there_may_be_are_refused() {
        let message = |count| GroupMessage {
            group: b"",
            left_out: vec![7; count],
            bytes: b"x",
        };
        let most = write_group_message(&message(MOST_LEFT_OUT));
        assert!(read_group_message(&most).is_some());
        let more = write_group_message(&message(MOST_LEFT_OUT + 1));
        assert_eq!(read_group_message(&more), None);
    }
}
