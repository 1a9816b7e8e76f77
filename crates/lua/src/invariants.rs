//! What holds for any bytes as packed values: another service may have sent them.

use mlua::Lua;

use crate::pack::{pack, unpack};

/// Any bytes: they are refused, or values that can be packed and unpacked again.
pub fn packed(data: &[u8]) {
    let lua = Lua::new();
    let Ok(values) = unpack(&lua, data) else {
        return;
    };
    let again = pack(&values).expect("only what can be packed was unpacked");
    let values_again = unpack(&lua, &again).expect("what was packed can be unpacked");
    assert_eq!(values_again.len(), values.len());
}

#[cfg(test)]
mod tests {
    include!("../../../fuzz/replay.rs");

    #[test]
    fn kept_inputs_break_no_invariant_of_packed_values() {
        replay("packed", super::packed);
    }
}
