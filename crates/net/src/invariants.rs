//! What holds for any input from outside: one function for each target of `fuzz/`. The tests here replay the inputs in
//! `fuzz/corpus`.

#[cfg(test)]
include!("../../../fuzz/replay.rs");

pub use crate::address::invariants::address;
pub use crate::dial::via::invariants::proxy;
pub use crate::framing::invariants::{envelope, framing, websocket};

#[test]
fn every_framing_cuts_what_is_kept() {
    replay("framing", framing);
}

#[test]
fn every_framing_sends_what_is_kept() {
    replay("envelope", envelope);
}

#[test]
fn two_implementations_of_websocket_agree_on_what_is_kept() {
    replay("websocket", websocket);
}

#[test]
fn proxies_may_answer_what_is_kept() {
    replay("proxy", proxy);
}

#[test]
fn addresses_may_be_what_is_kept() {
    replay("address", address);
}
