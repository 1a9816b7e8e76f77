//! What holds whatever another process does: one function for each target of `fuzz/`. The tests here replay what
//! is kept in `fuzz/corpus`.

#[cfg(test)]
include!("../../../fuzz/replay.rs");

pub use crate::ring::invariants::ring;

#[test]
fn a_ring_may_hold_what_is_kept() {
    replay("ring", ring);
}
