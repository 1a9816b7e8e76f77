//! What holds for any input from outside: one function for each target of `fuzz/`. The tests here replay the inputs in
//! `fuzz/corpus`.

#[cfg(test)]
include!("../../../fuzz/replay.rs");

pub use crate::address::invariants::address;
pub use crate::dial::via::invariants::proxy;
pub use crate::framing::invariants::{envelope, framing, websocket};
#[cfg(feature = "tls")]
pub use crate::tls::invariants::{certificates, keys, revocations};

#[test]
fn kept_inputs_break_no_invariant_of_cutting() {
    replay("framing", framing);
}

#[test]
fn kept_inputs_break_no_invariant_of_sending() {
    replay("envelope", envelope);
}

#[test]
fn two_implementations_of_websocket_agree_on_kept_inputs() {
    replay("websocket", websocket);
}

#[test]
fn kept_inputs_break_no_invariant_of_proxies() {
    replay("proxy", proxy);
}

#[test]
fn kept_inputs_break_no_invariant_of_addresses() {
    replay("address", address);
}
