//! Broadcasts on their way to the members of their groups.

use crate::ending::act;
use crate::groups::{Groups, NextMember};
use crate::session::table::Table;
use crate::tools::Tools;

/// Members looked at in one turn. A send over TCP costs 5 to 15 µs, so this stays under a millisecond, and the turn's own
/// cost is a small part of it.
const MEMBERS_PER_TURN: usize = 64;

/// Continues the broadcasts: one turn's share.
pub(crate) fn fan_out(groups: &mut Groups, sessions: &mut Table, tools: &mut Tools) {
    for _ in 0..MEMBERS_PER_TURN {
        match groups.next_member(tools) {
            NextMember::Quiet => return,
            NextMember::Nobody => {}
            NextMember::Member(name) => {
                let session = &mut sessions[name.key];
                if let Err(end) = groups.send(0, session, tools) {
                    act(session, end, groups, tools);
                }
            }
        }
    }
}
