//! What holds whatever another process does: one function for each target of `fuzz/`. The tests here replay what
//! is kept in `fuzz/corpus`.

#[cfg(test)]
include!("../../../fuzz/replay.rs");

pub use crate::ring::invariants::ring;

#[test]
fn kept_inputs_break_no_invariant_of_rings() {
    replay("ring", ring);
}
