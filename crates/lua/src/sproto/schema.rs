//! A schema in memory, read from the binary bundle that a parser made.

use super::message::{GREATEST, Slot, fields, parts};

/// What messages look like, and which requests there are.
#[derive(Debug, PartialEq)]
pub(crate) struct SprotoSchema {
    pub(super) types: Vec<SprotoType>,
    /// In the order of their tags.
    pub(super) protocols: Vec<SprotoProtocol>,
}

#[derive(Debug, PartialEq)]
pub(super) struct SprotoType {
    pub(super) name: Vec<u8>,
    /// In the order of their tags.
    pub(super) fields: Vec<SprotoField>,
}

#[derive(Debug, PartialEq)]
pub(super) struct SprotoField {
    pub(super) name: Vec<u8>,
    pub(super) tag: u16,
    pub(super) kind: SprotoKind,
    pub(super) shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum SprotoKind {
    Integer,
    /// A number times this is an integer.
    Decimal(f64),
    Boolean,
    Text,
    Double,
    /// Its place in the list of types.
    Struct(usize),
}

/// How many values a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    One,
    List,
    /// Structures by the value of the field with this tag.
    Keyed(u16),
    /// Structures of two fields: a key and its value.
    Map,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct SprotoProtocol {
    pub(super) name: Vec<u8>,
    pub(super) tag: u16,
    pub(super) request: Option<usize>,
    pub(super) response: Option<usize>,
    /// A response without content is expected.
    pub(super) is_confirmed: bool,
}

impl SprotoSchema {
    /// Reads a bundle. None if the bytes are none.
    pub(super) fn read(bundle: &[u8]) -> Option<Self> {
        let (lists, _) = fields(bundle)?;
        let (mut types, mut protocols) = (Vec::new(), Vec::new());
        for (tag, list) in lists {
            match (tag, list) {
                (0, Slot::Data(list)) => types = parts(list)?,
                (1, Slot::Data(list)) => protocols = parts(list)?,
                _ => return None,
            }
        }
        let count = types.len();
        let types = types.into_iter().map(|bytes| read_type(bytes, count));
        let protocols = protocols.into_iter().map(|bytes| protocol(bytes, count));
        let mut schema = Self {
            types: types.collect::<Option<_>>()?,
            protocols: protocols.collect::<Option<_>>()?,
        };
        schema.protocols.sort_by_key(|protocol| protocol.tag);
        schema.has_keys().then_some(schema)
    }

    /// Keyed structures have the field that is their key, and maps have two fields.
    fn has_keys(&self) -> bool {
        let all = self.types.iter().flat_map(|of| &of.fields);
        all.into_iter()
            .all(|field| match (field.shape, field.kind) {
                (Shape::One | Shape::List, _) => true,
                (Shape::Keyed(tag), SprotoKind::Struct(index)) => {
                    let key = self.types[index].field(tag.into());
                    key.is_some_and(|key| {
                        key.shape == Shape::One && !matches!(key.kind, SprotoKind::Struct(_))
                    })
                }
                (Shape::Map, SprotoKind::Struct(index)) => self.types[index].fields.len() == 2,
                _ => false,
            })
    }

    pub(super) fn type_named(&self, name: &[u8]) -> Option<usize> {
        self.types.iter().position(|of| of.name == name)
    }

    pub(super) fn protocol_named(&self, name: &[u8]) -> Option<&SprotoProtocol> {
        self.protocols.iter().find(|protocol| protocol.name == name)
    }

    pub(super) fn protocol(&self, tag: u16) -> Option<&SprotoProtocol> {
        let found = self
            .protocols
            .binary_search_by_key(&tag, |protocol| protocol.tag);
        found.ok().map(|index| &self.protocols[index])
    }
}

impl SprotoType {
    pub(super) fn field(&self, tag: u32) -> Option<&SprotoField> {
        let tag = u16::try_from(tag).ok()?;
        let found = self.fields.binary_search_by_key(&tag, |field| field.tag);
        found.ok().map(|index| &self.fields[index])
    }
}

fn read_type(bytes: &[u8], count: usize) -> Option<SprotoType> {
    let (mut name, mut list) = (None, Vec::new());
    for slot in fields(bytes)?.0 {
        match slot {
            (0, Slot::Data(text)) => name = Some(text.to_vec()),
            (1, Slot::Data(bytes)) => list = parts(bytes)?,
            _ => return None,
        }
    }
    let fields = list.into_iter().map(|bytes| read_field(bytes, count));
    let fields: Vec<SprotoField> = fields.collect::<Option<_>>()?;
    fields
        .is_sorted_by(|a, b| a.tag < b.tag)
        .then_some(SprotoType {
            name: name?,
            fields,
        })
}

/// The most digits behind the point that fit an integer.
const MOST_DIGITS: u16 = 18;

fn read_field(bytes: &[u8], count: usize) -> Option<SprotoField> {
    let (mut name, mut builtin, mut extra, mut tag) = (None, None, None, None);
    let (mut is_list, mut key, mut is_map) = (false, None, false);
    for slot in fields(bytes)?.0 {
        match slot {
            (0, Slot::Data(text)) => name = Some(text.to_vec()),
            (1, Slot::Small(value)) => builtin = Some(value),
            (2, Slot::Small(value)) => extra = Some(value),
            (3, Slot::Small(value)) => tag = Some(value),
            (4, Slot::Small(value)) => is_list = value != 0,
            (5, Slot::Small(value)) => key = Some(value),
            (6, Slot::Small(value)) => is_map = value != 0,
            _ => return None,
        }
    }
    let kind = match (builtin, extra) {
        (Some(0), None) => SprotoKind::Integer,
        (Some(0), Some(digits @ 0..=MOST_DIGITS)) => {
            SprotoKind::Decimal(10_f64.powi(digits.into()))
        }
        (Some(1), None) => SprotoKind::Boolean,
        // A text may say that it is binary: it is the same here.
        (Some(2), _) => SprotoKind::Text,
        (Some(3), None) => SprotoKind::Double,
        (None, Some(index)) if usize::from(index) < count => SprotoKind::Struct(index.into()),
        _ => return None,
    };
    let shape = match (is_list, key, is_map) {
        (false, None, false) => Shape::One,
        (true, None, false) => Shape::List,
        (true, Some(tag), false) => Shape::Keyed(tag),
        (true, _, true) => Shape::Map,
        _ => return None,
    };
    Some(SprotoField {
        name: name?,
        tag: tag.filter(|tag| *tag <= GREATEST)?,
        kind,
        shape,
    })
}

fn protocol(bytes: &[u8], count: usize) -> Option<SprotoProtocol> {
    let (mut name, mut tag) = (None, None);
    let (mut request, mut response, mut is_confirmed) = (None, None, false);
    for slot in fields(bytes)?.0 {
        match slot {
            (0, Slot::Data(text)) => name = Some(text.to_vec()),
            (1, Slot::Small(value)) => tag = Some(value),
            (2, Slot::Small(value)) if usize::from(value) < count => request = Some(value.into()),
            (3, Slot::Small(value)) if usize::from(value) < count => response = Some(value.into()),
            (4, Slot::Small(value)) => is_confirmed = value != 0,
            _ => return None,
        }
    }
    Some(SprotoProtocol {
        name: name?,
        tag: tag?,
        request,
        response,
        is_confirmed,
    })
}
