//! The bytes that a loop holds, by purpose: the one place that counts them, and knows their limit.
//!
//! All loops share one limit: each tells the others how much it holds.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cx::Cx;
use crate::shared::http_memory::HttpMemory;
use moorline_config::Config;
pub(crate) use moorline_protocol::control::MemoryClass as Class;

/// The memory of a TLS connection at rest, in bytes: keys and the state of its library. Measured for both versions.
pub(crate) const TLS_BYTES: usize = 3_400;
/// The memory of a session's membership in a group, in bytes, about.
pub(crate) const MEMBERSHIP_BYTES: usize = 64;
/// The memory of a group beside its name, in bytes, about.
pub(crate) const GROUP_BYTES: usize = 256;

/// The part of the limit that counts as near, in eighths.
const NEAR: u64 = 5;
/// Reduced by what may be in the rings already when apps are told to wait, but by no more than this, in eighths.
const MOST_COMING: u64 = 2;
/// All fair shares together, in eighths. Late sessions may still take theirs, so the room for the session with the
/// right of way is the two eighths above both.
const SHARES: u64 = 1;
/// A loop that has grown by this part of the limit tells the others, and reads how they have grown.
const STEPS: u64 = 64;

/// The bytes that one loop holds.
#[derive(Debug)]
pub(crate) struct Memory {
    by_class: [u64; Class::ALL.len()],
    total: u64,
    /// Bytes of the frames of broadcasts: several sessions share each.
    frames: Rc<Cell<u64>>,
    /// The bytes that the main thread holds for HTTP, as this loop counts them.
    http: Option<Arc<HttpMemory>>,
    /// The bytes of events, which all loops share, as this loop counts them.
    history: Option<Arc<AtomicU64>>,
    limits: Limits,
    relief: Relief,
}

/// How much this loop may hold if the others hold what they held last.
#[derive(Debug)]
struct Limits {
    limit: Option<u64>,
    /// All loops together: from this many bytes on the limit is near.
    all_near: u64,
    /// This loop: from this many bytes on the limit is near, and passed.
    near: u64,
    over: u64,
    /// From this many bytes on the answer may have changed, because other loops may have grown as well.
    measure_at: u64,
    /// A session's fair share.
    share: u64,
}

/// Whether the largest sessions must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relief {
    None,
    Due,
}

impl Limits {
    fn new(config: &Config) -> Self {
        let limit = config.engine.memory_limit;
        let processes = u64::from(config.workers.count) + u64::from(config.tasks.count);
        // Each process has as much memory for the ring to it as for the one from it.
        let coming = processes * config.engine.ring_memory / 2;
        let all_near = limit.map_or(u64::MAX, |limit| {
            limit / 8 * NEAR - coming.min(limit / 8 * MOST_COMING)
        });
        Self {
            limit,
            all_near,
            near: u64::MAX,
            over: u64::MAX,
            measure_at: u64::MAX,
            share: u64::MAX,
        }
    }
}

impl Memory {
    /// Nothing is held yet. `http` and `history`: what this loop counts for all.
    pub(crate) fn new(
        config: &Config,
        http: Option<Arc<HttpMemory>>,
        history: Option<Arc<AtomicU64>>,
    ) -> Self {
        Self {
            by_class: Default::default(),
            total: 0,
            frames: Rc::default(),
            http,
            history,
            limits: Limits::new(config),
            relief: Relief::None,
        }
    }

    /// Counts this many bytes more.
    pub(crate) fn hold(&mut self, class: Class, bytes: usize) {
        self.by_class[class as usize] += bytes as u64;
        self.total += bytes as u64;
    }

    /// Counts this many bytes less.
    pub(crate) fn release(&mut self, class: Class, bytes: usize) {
        self.change(class, bytes, 0);
    }

    /// Something that had `before` bytes has `after` now.
    #[inline]
    pub(crate) fn change(&mut self, class: Class, before: usize, after: usize) {
        self.hold(class, after);
        let held = &mut self.by_class[class as usize];
        // Never more than was held: the invariants prove it after each turn of every test. A release build continues.
        debug_assert!(
            *held >= before as u64,
            "{before} bytes of {class:?} are released, {held} were held"
        );
        let released = (before as u64).min(*held);
        *held -= released;
        self.total -= released;
    }

    /// Bytes of one class.
    pub(crate) fn of(&self, class: Class) -> u64 {
        self.by_class[class as usize]
    }

    /// Bytes of all classes.
    #[inline]
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Counts frames that several sessions share, each once.
    pub(crate) fn frames(&self) -> &Rc<Cell<u64>> {
        &self.frames
    }

    /// Bytes that this loop holds for sessions and for processes; shared ones once.
    #[inline]
    pub(crate) fn held(&self) -> u64 {
        self.total + self.frames.get() + self.http() + self.history()
    }

    /// The part of them for this purpose.
    pub(crate) fn held_of(&self, class: Class) -> u64 {
        let besides = match class {
            Class::Broadcasts => self.frames.get(),
            Class::Http => self.http(),
            Class::History => self.history(),
            _ => 0,
        };
        self.of(class) + besides
    }

    /// The bytes of events, if this loop counts them.
    pub(crate) fn history(&self) -> u64 {
        let history = self.history.as_ref();
        history.map_or(0, |history| history.load(Ordering::Relaxed))
    }

    fn http(&self) -> u64 {
        self.http.as_ref().map_or(0, |http| http.bytes())
    }

    /// Switches to the limit of another configuration. False: it is the same.
    pub(crate) fn change_limit(&mut self, config: &Config) -> bool {
        let limits = Limits::new(config);
        let is_other = (limits.limit, limits.all_near) != (self.limits.limit, self.limits.all_near);
        if is_other {
            self.limits = limits;
        }
        is_other
    }

    /// The limit of all loops together, and from where on it is near.
    pub(crate) fn limit(&self) -> Option<(u64, u64)> {
        Some((self.limits.limit?, self.limits.all_near))
    }

    /// A session's fair share, in bytes.
    pub(crate) fn share(&self) -> u64 {
        self.limits.share
    }

    /// Tells the other loops how much this one holds, and computes how much it may hold. Returns the former.
    pub(crate) fn measure(&mut self, cx: &Cx) -> u64 {
        let mine = self.held();
        let shared = &cx.shared;
        shared.held[usize::from(cx.index)].store(mine, Ordering::Relaxed);
        let held = shared.held.iter().map(|it| it.load(Ordering::Relaxed));
        let theirs = held.sum::<u64>().saturating_sub(mine);
        let sessions = shared.loads.iter().map(|it| it.load(Ordering::Relaxed));
        let sessions = sessions.sum::<usize>().max(1) as u64;
        let limits = &mut self.limits;
        if let Some(limit) = limits.limit {
            limits.share = limit / 8 * SHARES / sessions;
            limits.near = limits.all_near.saturating_sub(theirs).max(1);
            limits.over = limit.saturating_sub(theirs);
            limits.measure_at = limits.near.min(mine + limit / STEPS);
        }
        mine
    }

    /// Whether the limit is near.
    #[inline]
    pub(crate) fn is_tight(&mut self, cx: &Cx) -> bool {
        self.held() >= self.limits.measure_at && self.measure(cx) >= self.limits.near
    }

    /// Whether this many bytes are near the limit, as of the last measurement.
    pub(crate) fn is_near(&self, bytes: u64) -> bool {
        bytes >= self.limits.near
    }

    /// How many bytes these are over what is near the limit, as of the last measurement.
    pub(crate) fn over_near(&self, bytes: u64) -> u64 {
        bytes.saturating_sub(self.limits.near) + 1
    }

    /// Whether this many bytes pass the limit, as of the last measurement.
    pub(crate) fn is_over(&self, bytes: u64) -> bool {
        bytes > self.limits.over
    }

    /// Whether this many bytes more would pass the limit.
    pub(crate) fn would_pass_limit(&self, more: usize) -> bool {
        self.is_over(self.held().saturating_add(more as u64))
    }

    /// Memory has grown: if it has passed the limit, the loop must make room before it continues.
    #[inline]
    pub(crate) fn ask_for_relief(&mut self, cx: &Cx) {
        if self.is_tight(cx) && self.measure(cx) > self.limits.over {
            self.relief = Relief::Due;
        }
    }

    /// Whether the loop must make room. Asking clears the mark.
    #[inline]
    pub(crate) fn takes_relief(&mut self) -> bool {
        std::mem::replace(&mut self.relief, Relief::None) == Relief::Due
    }
}
