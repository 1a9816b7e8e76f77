//! Binary bundles of schemas, as `SprotoSchema` reads them.

use std::collections::BTreeMap;

use super::message::{Draft, GREATEST, append};
use super::parser::{FieldText, ProtocolText, SprotoText};

/// The bundle of a schema, or what is wrong with it.
pub(super) fn bundle(mut schema: SprotoText) -> Result<Vec<u8>, String> {
    check(&schema.protocols, &schema.types)?;
    resolve(&mut schema.types)?;
    let mut draft = Draft::default();
    if schema.types.is_empty() && schema.protocols.is_empty() {
        return Ok(draft.into_bytes());
    }
    let types = &schema.types;
    let mut list = Vec::new();
    for (name, fields) in types {
        append(&mut list, &type_of(name, fields, types)?);
    }
    draft.data(0, &list);
    let mut protocols: Vec<_> = schema.protocols.iter().collect();
    if !protocols.is_empty() {
        protocols.sort_by_key(|(_, protocol)| protocol.tag);
        let mut list = Vec::new();
        for (name, protocol) in protocols {
            append(&mut list, &protocol_of(name, protocol, types)?);
        }
        draft.data(1, &list);
    }
    Ok(draft.into_bytes())
}

type Types = BTreeMap<String, Vec<FieldText>>;

fn check(protocols: &BTreeMap<String, ProtocolText>, types: &Types) -> Result<(), String> {
    let mut tags = BTreeMap::new();
    for (name, protocol) in protocols {
        let tag = protocol.tag;
        if tags.insert(tag, name).is_some() {
            return Err(format!("redefined protocol tag {tag} at {name}"));
        }
        for (what, kind) in [
            ("request", &protocol.request),
            ("response", &protocol.response),
        ] {
            if let Some(kind) = kind.as_ref().filter(|kind| !types.contains_key(*kind)) {
                return Err(format!("Undefined {what} type {kind} in protocol {name}"));
            }
        }
    }
    Ok(())
}

/// Gives each field the whole name of its type: the nearest from within outwards.
fn resolve(types: &mut Types) -> Result<(), String> {
    let names: Vec<String> = types.keys().cloned().collect();
    for (name, fields) in types {
        for field in fields
            .iter_mut()
            .filter(|field| builtin(&field.kind).is_none())
        {
            let mut within = Some(name.as_str());
            let found = loop {
                let full = match within {
                    Some(within) => format!("{within}.{}", field.kind),
                    None => field.kind.clone(),
                };
                if names.binary_search(&full).is_ok() {
                    break full;
                }
                within = match within {
                    Some(within) => within.rsplit_once('.').map(|(outer, _)| outer),
                    None => return Err(format!("Undefined type {} in type {name}", field.kind)),
                };
            };
            field.kind = found;
        }
    }
    Ok(())
}

/// A type that is not a structure, and what is behind its number.
fn builtin(kind: &str) -> Option<(u16, Option<u16>)> {
    Some(match kind {
        "integer" => (0, None),
        "boolean" => (1, None),
        "string" => (2, None),
        "binary" => (2, Some(1)),
        "double" => (3, None),
        _ => return None,
    })
}

fn type_of(name: &str, fields: &[FieldText], types: &Types) -> Result<Vec<u8>, String> {
    let mut draft = Draft::default();
    draft.data(0, name.as_bytes());
    if !fields.is_empty() {
        let mut list = Vec::new();
        for field in fields {
            append(&mut list, &field_of(field, types)?);
        }
        draft.data(1, &list);
    }
    Ok(draft.into_bytes())
}

fn field_of(field: &FieldText, types: &Types) -> Result<Vec<u8>, String> {
    let name = &field.name;
    let mut draft = Draft::default();
    draft.data(0, name.as_bytes());
    let mut key = field.inner.as_deref();
    match builtin(&field.kind) {
        Some((number, extra)) => {
            draft.small(1, number);
            let digits = match key.take_if(|_| number == 0) {
                Some(digits) => Some(
                    digits
                        .parse()
                        .map_err(|_| format!("Invalid number of digits in {name}: {digits}"))?,
                ),
                None => None,
            };
            if let Some(extra) = digits.or(extra) {
                draft.small(2, small(extra, name)?);
            }
        }
        None => draft.small(2, place(&field.kind, types)?),
    }
    draft.small(3, small(field.tag, name)?);
    if field.is_list {
        draft.small(4, 1);
    }
    match (key, field.is_list) {
        (None, _) => {}
        (Some(_), false) => return Err(format!("{name} has a key: write * before its type")),
        (Some(key), true) => {
            let (tag, is_map) = key_of(field, key, types)?;
            draft.small(5, small(tag, name)?);
            if is_map {
                draft.small(6, 1);
            }
        }
    }
    Ok(draft.into_bytes())
}

/// The tag of the field that a list's structures are found by, and whether they are only that and a value.
fn key_of(field: &FieldText, key: &str, types: &Types) -> Result<(u32, bool), String> {
    let inner = types.get(&field.kind);
    let inner = inner.ok_or_else(|| format!("Invalid map index :{key}"))?;
    let found = match key {
        "" if inner.len() != 2 => {
            let name = &field.name;
            return Err(format!(
                "Invalid map definition: {name}, must only have two fields"
            ));
        }
        "" => &inner[0],
        key => (inner.iter().find(|field| field.name == key))
            .ok_or_else(|| format!("Invalid map index :{key}"))?,
    };
    match builtin(&found.kind) {
        Some(_) if !found.is_list => Ok((found.tag, key.is_empty())),
        _ => Err(format!("Invalid map index :{}", found.name)),
    }
}

fn protocol_of(name: &str, protocol: &ProtocolText, types: &Types) -> Result<Vec<u8>, String> {
    let mut draft = Draft::default();
    draft.data(0, name.as_bytes());
    draft.small(1, small(protocol.tag, name)?);
    if let Some(request) = &protocol.request {
        draft.small(2, place(request, types)?);
    }
    match &protocol.response {
        Some(response) => draft.small(3, place(response, types)?),
        None if protocol.is_confirmed => draft.small(4, 1),
        None => {}
    }
    Ok(draft.into_bytes())
}

/// The place of a type in the list of all.
fn place(kind: &str, types: &Types) -> Result<u16, String> {
    let place = types.keys().position(|name| name == kind);
    let place = place.ok_or_else(|| format!("Undefined type {kind}"))?;
    small(place as u32, kind)
}

fn small(number: impl TryInto<u32>, name: &str) -> Result<u16, String> {
    let number = number.try_into().unwrap_or(u32::MAX);
    match u16::try_from(number) {
        Ok(number) if number <= GREATEST => Ok(number),
        _ => Err(format!("the number of {name} is too large (>{GREATEST})")),
    }
}
