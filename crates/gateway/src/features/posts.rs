//! Posts to workers: they pass through a loop without a session.
//!
//! A loop holds what does not fit into the receiver's ring. The ledgers of the senders bound how much that can be.

use bytes::Bytes;
use moorline_ipc::Header;
use rustc_hash::FxHashSet;

use crate::ids::{ProcessKey, SlotId};
use crate::memory::{Class, Memory};
use crate::processes::Processes;
use crate::processes::ledger::Request;
use crate::processes::process::Process;
use crate::transfer::{Asker, Post, Transfer};
use moorline_protocol::control::Role;
use moorline_protocol::wire::{FAILED, FIRST, FROM_TASK, LAST, ToProcess};

/// A post to a worker slot.
///
/// # Errors
/// There are too many.
pub(crate) fn post(
    at: ProcessKey,
    header: &Header,
    bytes: Vec<u8>,
    processes: &mut Processes,
    memory: &mut Memory,
) -> Result<(), String> {
    let post = begin(at, header, bytes.len(), processes)?;
    let from = SlotId(match processes[at].role {
        Role::Task(slot) => slot | FROM_TASK,
        Role::Worker(slot) => slot,
        Role::Gateway => 0,
    });
    let transfer = Transfer {
        header: Header {
            kind: ToProcess::Post as u8,
            aux: from.0,
            session: header.session,
            ..Header::default()
        },
        bytes: bytes.into(),
        offset: 0,
        post: Some(post),
    };
    let Some(slot) = processes.slots.get_mut(post.to.index()) else {
        return_credit(post, FAILED, processes, memory);
        return Ok(());
    };
    memory.hold(Class::Transfers, transfer.held());
    match slot.process {
        Some(place) => {
            let process = &mut processes[place];
            process.posts.insert((from, header.session), post);
            process.transfers.push_back(transfer);
            processes.forward_transfers(place, memory);
        }
        None => slot.transfers.push_back(transfer),
    }
    Ok(())
}

/// There was no memory for a post.
///
/// # Errors
/// There are too many.
pub(crate) fn refuse_post(
    at: ProcessKey,
    header: &Header,
    processes: &mut Processes,
    memory: &mut Memory,
) -> Result<(), String> {
    let post = begin(at, header, 0, processes)?;
    return_credit(post, FAILED, processes, memory);
    Ok(())
}

fn begin(
    at: ProcessKey,
    header: &Header,
    bytes: usize,
    processes: &mut Processes,
) -> Result<Post, String> {
    let to = SlotId(header.aux);
    let sender = &mut processes[at];
    sender.ledger.open(Request::Post(to, bytes))?;
    let sender = Asker {
        at,
        process: sender.id,
        number: header.session,
    };
    Ok(Post { sender, to, bytes })
}

/// A post has been handled: its sender's credit returns.
pub(crate) fn post_done(
    at: ProcessKey,
    header: &Header,
    processes: &mut Processes,
    memory: &mut Memory,
) {
    let name = (SlotId(header.aux), header.session);
    if let Some(post) = processes[at].posts.remove(&name) {
        return_credit(post, 0, processes, memory);
    }
}

/// Tells the sender of a post that it is done, if that one still lives.
fn return_credit(post: Post, flags: u8, processes: &mut Processes, memory: &mut Memory) {
    let Some(sender) = processes.asker(post.sender) else {
        return;
    };
    sender.ledger.carried(Request::Post(post.to, post.bytes));
    let header = Header {
        kind: ToProcess::PostDone as u8,
        flags,
        aux: post.to.0,
        session: post.sender.number,
        ..Header::default()
    };
    processes.transfer(post.sender.at, header, Bytes::new(), memory);
}

/// The posts that a dead process had in progress are lost; their senders get their credit back.
pub(crate) fn return_posts(dead: &mut Process, processes: &mut Processes, memory: &mut Memory) {
    for (_, post) in std::mem::take(&mut dead.posts) {
        return_credit(post, FAILED, processes, memory);
    }
}

/// Puts the parts of posts that a dead process had not taken together again.
pub(crate) fn gather(
    transfers: &mut Vec<Transfer>,
    open: &mut FxHashSet<(SlotId, u64)>,
    header: Header,
    payload: &[u8],
) {
    let name = Transfer::post_name(&header);
    if header.flags & FIRST != 0 {
        let header = Header {
            flags: header.flags & !(FIRST | LAST),
            ..header
        };
        transfers.push(Transfer {
            header,
            bytes: payload.to_vec().into(),
            offset: 0,
            post: None,
        });
        open.insert(name);
    } else if open.contains(&name)
        && let Some(transfer) = transfers
            .iter_mut()
            .rev()
            .find(|transfer| Transfer::post_name(&transfer.header) == name)
    {
        transfer.bytes = [&transfer.bytes, payload].concat().into();
    }
    if header.flags & LAST != 0 && !open.remove(&name) {
        // Its first parts were taken: it is lost.
        transfers.retain(|transfer| Transfer::post_name(&transfer.header) != name);
    }
}
