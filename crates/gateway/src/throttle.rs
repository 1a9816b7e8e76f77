//! Sessions that are not read because the memory limit is near.
//!
//! Near the limit sessions that hold more than a fair share are not read, and sends to them answer `Full`; sessions
//! that hold little are not affected. A fair share is less than the rest of the memory, so some room remains: one of
//! the waiting sessions at a time may use it to complete its message.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use crate::agenda::Agenda;
use crate::cx::Cx;
use crate::ids::SessionRef;
use crate::memory::Memory;
use crate::session::table::Table;
use crate::session::{Phase, Session};

/// The right of way passes on if its holder has received nothing and has no message in progress for this long, in
/// milliseconds.
const YIELD_MS: u64 = 250;
/// A loop whose session had the right of way lets other loops take their turn for this long, in milliseconds: they
/// check every 5.
const PASS_MS: u64 = 10;
/// It does not wait longer than this for them, in milliseconds.
const GO_FIRST_MS: u64 = 2_000;

/// The sessions of one loop that are not read, and the one of them that is read anyway.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// In the order in which they continue.
    held_back: VecDeque<SessionRef>,
    right_of_way: Option<RightOfWay>,
    /// When a session of this loop last lost the right of way.
    yielded_at: u64,
}

/// One of this loop's sessions may be read to the end of its message.
#[derive(Debug, Clone, Copy)]
struct RightOfWay {
    name: SessionRef,
    since: u64,
}

impl Throttle {
    /// The sessions that are not read.
    pub(crate) fn held_back(&self) -> &VecDeque<SessionRef> {
        &self.held_back
    }

    /// These sessions are not read: another process has held them back.
    pub(crate) fn take_up(&mut self, held_back: Vec<SessionRef>) {
        self.held_back = held_back.into();
    }

    /// Throttles a session if it has more than its share. False: it may be read.
    pub(crate) fn hold_back(&mut self, session: &mut Session, memory: &Memory, cx: &Cx) -> bool {
        let is_over = memory.is_over(memory.held());
        // After a peer has hung up only the bytes in the kernel are left, and then the session ends.
        if session.under_way() <= memory.share() || session.transport.link.is_hung_up() {
            return false;
        }
        if !is_over && cx.shared.right_of_way.load(Ordering::Relaxed) == session.id {
            return false;
        }
        if !std::mem::replace(&mut session.listed.held_back, true) {
            self.held_back.push_back(session.name());
        }
        true
    }

    /// There is room again for all of them.
    pub(crate) fn read_all_again(&mut self, sessions: &mut Table, agenda: &mut Agenda, cx: &Cx) {
        self.yield_right_of_way(cx);
        while let Some(session) = self.next(sessions) {
            agenda.sweep.push_back(session.name());
        }
    }

    /// The next session that is not read. It will be read.
    fn next<'a>(&mut self, sessions: &'a mut Table) -> Option<&'a mut Session> {
        while let Some(name) = self.held_back.pop_front() {
            if sessions.named(name).is_some() {
                let session = &mut sessions[name.key];
                session.listed.held_back = false;
                return Some(session);
            }
        }
        None
    }

    /// Lets one of the waiting sessions proceed. Otherwise all could wait for ever, each for the rest of its message.
    pub(crate) fn pass_right_of_way(
        &mut self,
        sessions: &mut Table,
        memory: &Memory,
        agenda: &mut Agenda,
        cx: &Cx,
    ) {
        let now = cx.clock.ms;
        if let Some(RightOfWay { name, since }) = self.right_of_way {
            let session = sessions.named_mut(name);
            let session = session.filter(|session| {
                let received_at = session.meters.received_at.max(since);
                now - since < GO_FIRST_MS
                    && session.phase == Phase::Open
                    && session.under_way() > memory.share()
                    && (session.input.window.in_hand() > 0
                        || now.saturating_sub(received_at) < YIELD_MS)
            });
            if let Some(session) = session {
                // While the limit was passed it was held back like the others.
                if std::mem::take(&mut session.listed.held_back) {
                    self.held_back.retain(|other| *other != name);
                    agenda.schedule(session);
                }
                return;
            }
            self.yield_right_of_way(cx);
        }
        if self.held_back.is_empty() || (!cx.is_alone() && now - self.yielded_at < PASS_MS) {
            return;
        }
        let claim = &cx.shared.right_of_way;
        // Ids begin above zero. Zero means no session.
        if claim.load(Ordering::Relaxed) == 0
            && let Some(session) = self.next(sessions)
        {
            let name = session.name();
            let claimed = claim.compare_exchange(0, name.id, Ordering::Relaxed, Ordering::Relaxed);
            if claimed.is_ok() {
                self.right_of_way = Some(RightOfWay { name, since: now });
                agenda.schedule(session);
            } else {
                session.listed.held_back = true;
                self.held_back.push_front(name);
            }
        }
    }

    fn yield_right_of_way(&mut self, cx: &Cx) {
        if self.right_of_way.take().is_some() {
            cx.shared.right_of_way.store(0, Ordering::Relaxed);
            self.yielded_at = cx.clock.ms;
        }
    }
}
