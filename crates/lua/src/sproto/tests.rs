//! Schemas and messages that are made by others, or by chance.

use mlua::{Lua, Table, Value};

use super::message::{Slot, fields};
use super::schema::SprotoSchema;
use super::{decode, encode, parser, zeros};

const SCHEMA: &str = "
# A comment.
.Person {
    name 0 : string
    age 1 : integer
    marital 2 : boolean
    children 3 : *Person
}
.Data {
    .Pair { key 0 : integer  value 5 : *Pair }
    numbers 0 : *integer
    bools 1 : *boolean
    number 2 : integer
    bignumber 3 : integer
    price 4 : integer(2)
    doubles 5 : *double
    people 6 : *Person(name)
    pairs 7 : *Pair()
    raw 9 : binary
    double 10 : double
}
ask 1 { request Person response { ok 0 : boolean } }
tell 3 { response nil }
";

fn schema() -> SprotoSchema {
    let bundle = parser::parse(SCHEMA, "=text").expect("it is a schema");
    SprotoSchema::read(&bundle).expect("it is a bundle")
}

/// A seeded stream of numbers.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % limit
    }

    /// Some of the bytes changed, left out or repeated.
    fn mutated(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let place = self.below(bytes.len() + 1);
            match self.below(3) {
                0 => bytes.truncate(place),
                1 => bytes.insert(place, self.below(256) as u8),
                _ => {
                    if let Some(byte) = bytes.get_mut(place) {
                        *byte = self.below(256) as u8;
                    }
                }
            }
        }
        bytes
    }
}

// The text and bytes of the examples in sproto's own description.
#[test]
fn messages_are_those_of_the_description() {
    let (lua, schema) = (Lua::new(), schema());
    for (kind, value, expected) in [
        (
            "Person",
            "{ name = 'Alice', age = 13, marital = false }",
            "0300 0000 1c00 0200 05000000 416c696365",
        ),
        (
            "Person",
            "{ name = 'Bob', age = 40, children = { { name = 'Alice', age = 13 }, { name = 'Carol', age = 5 } } }",
            "0400 0000 5200 0100 0000 03000000 426f62 26000000
             0f000000 0200 0000 1c00 05000000 416c696365 0f000000 0200 0000 0c00 05000000 4361726f6c",
        ),
        (
            "Data",
            "{ numbers = { 1, 2, 3, 4, 5 } }",
            "0100 0000 15000000 04 01000000 02000000 03000000 04000000 05000000",
        ),
        (
            "Data",
            "{ numbers = { (1 << 32) + 1, (1 << 32) + 2, (1 << 32) + 3 } }",
            "0100 0000 19000000 08 0100000001000000 0200000001000000 0300000001000000",
        ),
        (
            "Data",
            "{ bools = { false, true, false } }",
            "0200 0100 0000 03000000 00 01 00",
        ),
        (
            "Data",
            "{ number = 100000, bignumber = -10000000000 }",
            "0300 0300 0000 0000 04000000 a0860100 08000000 001cf4abfdffffff",
        ),
    ] {
        let index = schema.type_named(kind.as_bytes()).expect("it is there");
        let source: Value = lua.load(value).eval().expect("it is Lua");
        let bytes = encode::encode(&lua, &schema, index, &source).expect("it is a message");
        let digits: String = expected.split_whitespace().collect();
        let found: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, digits, "{value}");
        let table = lua.create_table().expect("there is memory");
        let length = decode::decode(&lua, &schema, index, &bytes, &table);
        assert_eq!(length.expect("it is a message"), bytes.len());
        let again = encode::encode(&lua, &schema, index, &Value::Table(table));
        assert_eq!(again.expect("it is a message"), bytes);
    }
}

#[test]
fn packing_is_that_of_the_description_and_comes_back() {
    let plain = b"\x08\0\0\0\x03\0\x02\0\x19\0\0\0\xaa\x01\0\0";
    assert_eq!(zeros::pack(plain), b"\x51\x08\x03\x02\x31\x19\xaa\x01");
    let mut long = vec![0x8a; 30];
    let packed = zeros::pack(&long);
    assert_eq!(packed[..2], [0xff, 3]);
    long.resize(32, 0);
    assert_eq!(packed[2..], long);
    let mut chance = Chance(7);
    for _ in 0..2_000 {
        let length = chance.below(5_000);
        let zeros_in = chance.below(10) + 1;
        let mut bytes: Vec<u8> = (0..length)
            .map(|_| match chance.below(zeros_in) {
                0 => chance.below(256) as u8,
                _ => 0,
            })
            .collect();
        let packed = zeros::pack(&bytes);
        bytes.resize(length.next_multiple_of(8), 0);
        assert_eq!(zeros::unpack(&packed).as_ref(), Some(&bytes));
        // Broken ones are refused or something else: no more than eight bytes come from one.
        let broken = chance.mutated(&packed);
        if let Some(bytes) = zeros::unpack(&broken) {
            assert!(bytes.len() <= 8 * broken.len());
        }
    }
}

#[test]
fn any_bytes_are_a_bundle_or_refused() {
    let bundle = parser::parse(SCHEMA, "=text").expect("it is a schema");
    let (lua, mut chance) = (Lua::new(), Chance(11));
    for _ in 0..20_000 {
        let broken = chance.mutated(&bundle);
        let Some(schema) = SprotoSchema::read(&broken) else {
            continue;
        };
        // What is accepted can be used.
        for index in 0..schema.types.len() {
            let table = lua.create_table().expect("there is memory");
            let _ = decode::decode(&lua, &schema, index, b"\x02\0\0\0\x04\0\0\0\0\0", &table);
            let _ = encode::encode(&lua, &schema, index, &Value::Table(table));
        }
    }
}

#[test]
fn any_bytes_are_a_message_or_refused() {
    let (lua, schema) = (Lua::new(), schema());
    let index = schema.type_named(b"Data").expect("it is there");
    let text = "{ numbers = { 1, -2, 1 << 40 }, bools = { true }, number = 7, price = 1.25, doubles = { 0.5, 1e300 },
        people = { a = { name = 'a', children = { { name = 'c' } } }, b = { name = 'b', age = 3 } },
        pairs = { [3] = { [4] = {} } }, raw = '\\0\\1', double = 2.5 }";
    let source: Value = lua.load(text).eval().expect("it is Lua");
    let bytes = encode::encode(&lua, &schema, index, &source).expect("it is a message");
    let mut chance = Chance(13);
    let mut accepted = 0;
    for _ in 0..20_000 {
        let broken = chance.mutated(&bytes);
        let table: Table = lua.create_table().expect("there is memory");
        if let Ok(length) = decode::decode(&lua, &schema, index, &broken, &table) {
            accepted += 1;
            assert!(length <= broken.len());
            let again = encode::encode(&lua, &schema, index, &Value::Table(table));
            again.expect("what was decoded can be encoded");
        }
    }
    assert!(accepted > 0);
}

#[test]
fn a_message_that_is_too_deep_is_refused() {
    let (lua, schema) = (Lua::new(), schema());
    let index = schema.type_named(b"Person").expect("it is there");
    let mut bytes = b"\0\0".to_vec();
    for _ in 0..200 {
        let mut outer = b"\x02\0\x05\0\0\0".to_vec();
        outer.extend((bytes.len() as u32 + 4).to_le_bytes());
        outer.extend((bytes.len() as u32).to_le_bytes());
        outer.append(&mut bytes);
        bytes = outer;
    }
    assert!(
        matches!(fields(&bytes), Some((fields, _)) if matches!(fields[..], [(3, Slot::Data(_))]))
    );
    let table = lua.create_table().expect("there is memory");
    let refused = decode::decode(&lua, &schema, index, &bytes, &table).expect_err("it is refused");
    assert!(refused.to_string().contains("too deep"), "{refused}");
}

#[test]
fn texts_that_are_no_schema_are_refused_with_the_line() {
    for (text, expected) in [
        (".a {\n x 0 string }", "syntax error at [=text] line (2)"),
        (".a {", "syntax error at [=text] line (1)"),
        ("a {}", "syntax error at [=text] line (1)"),
        (".a { x 0 : string x 1 : string }", "redefine x in type a"),
        (
            ".a { x 0 : string y 0 : string }",
            "redefine tag 0 in type a",
        ),
        (".a {} .a {}", "redefined a"),
        (".a { x 0 : b }", "Undefined type b in type a"),
        (
            "p 1 { request b }",
            "Undefined request type b in protocol p",
        ),
        ("p 1 {} q 1 {}", "redefined protocol tag 1 at q"),
        (".a { x 0 : *a(y) }", "Invalid map index :y"),
        (
            ".a { x 0 : *a() }",
            "Invalid map definition: x, must only have two fields",
        ),
        (".a { x 0 : a(x) }", "x has a key: write * before its type"),
        (
            ".a { x 40000 : string }",
            "the number of x is too large (>32766)",
        ),
        (
            ".a { x 0 : integer(many) }",
            "Invalid number of digits in x: many",
        ),
    ] {
        let refused = parser::parse(text, "=text");
        assert_eq!(refused.expect_err(text), expected);
    }
    let deep = ".a {".repeat(10_000);
    assert!(parser::parse(&deep, "=text").is_err());
}

#[test]
fn any_text_is_a_schema_or_refused() {
    let mut chance = Chance(17);
    for _ in 0..5_000 {
        let broken = chance.mutated(SCHEMA.as_bytes());
        let broken = String::from_utf8_lossy(&broken);
        if let Ok(bundle) = parser::parse(&broken, "=text") {
            let read = SprotoSchema::read(&bundle);
            assert!(read.is_some(), "{broken}");
        }
    }
}
