//! Documents that are made by chance.

use mlua::{Lua, Value};

use super::{decode, encode};

#[test]
fn any_bytes_are_a_document_or_refused() {
    let lua = Lua::new();
    let text = "{ a = 1, b = 1 << 40, c = 1.5, d = 'text', e = { 1, 2, { x = true } }, f = { y = { z = 'deep' } },
        g = '\\0\\x07123456789012', h = '\\0\\9abcd', i = '\\0\\11a\\0i\\0', j = '\\0\\5\\0bytes', k = '\\0\\10',
        l = '\\0\\17abcdefgh', m = '\\0\\18abcdefgh', n = '\\0\\13\\2\\0\\0\\0x\\0' }";
    let source = lua.load(text).eval().expect("it is Lua");
    let bytes = encode::document(&lua, &source).expect("it is a document");
    let whole = decode::decode(&lua, &bytes).expect("it is a document");
    let again = encode::document(&lua, &whole).expect("it is a document");
    assert_eq!(again.len(), bytes.len());
    let (mut seed, mut accepted) = (5_u64, 0);
    let mut below = |limit: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % limit
    };
    for _ in 0..20_000 {
        let mut broken = bytes.clone();
        for _ in 0..=below(3) {
            let place = below(broken.len());
            broken[place] = below(256) as u8;
        }
        if below(4) == 0 {
            broken.truncate(below(broken.len()));
        }
        let _ = decode::places(&broken);
        if let Ok(table) = decode::decode(&lua, &broken) {
            accepted += 1;
            // A text may look like an object that is none, and is refused then.
            let _ = encode::document(&lua, &table);
        }
    }
    assert!(accepted > 0);
}

#[test]
fn a_document_that_is_too_deep_is_refused() {
    let lua = Lua::new();
    let mut bytes = b"\x05\0\0\0\0".to_vec();
    for _ in 0..1_000 {
        let length = bytes.len() as u32 + 8;
        let mut outer = length.to_le_bytes().to_vec();
        outer.extend(b"\x03a\0");
        outer.append(&mut bytes);
        outer.push(0);
        bytes = outer;
    }
    let refused = decode::decode(&lua, &bytes).expect_err("it is refused");
    assert!(refused.to_string().contains("Too depth"), "{refused}");
    let circle: Value = lua
        .load("local t = {} t.t = t return t")
        .eval()
        .expect("it is Lua");
    let circle = circle.as_table().expect("it is a table");
    let refused = encode::document(&lua, circle).expect_err("it is refused");
    assert!(refused.to_string().contains("Too depth"), "{refused}");
}
