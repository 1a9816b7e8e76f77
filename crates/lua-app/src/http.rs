//! Requests of HTTP as values, and answers from values.

use std::fmt;

use moorline_lua::Plain;
use moorline_worker::app::{Accept, Request, Response, Result};

/// What a handler gets to know of a request: the event, then what it asks, then its fields as names and values.
pub(crate) fn values_of(event: &'static str, request: &Request) -> Vec<Plain> {
    let mut values = vec![
        Plain::Word(event),
        text(request.method()),
        text(request.target()),
        text(request.path()),
        text(request.route()),
        text(&request.peer().to_string()),
        text(request.listener()),
        Plain::Text(request.body().to_vec()),
    ];
    for (name, value) in request.headers() {
        values.extend([text(name), Plain::Text(value.to_vec())]);
    }
    values
}

fn text(text: &str) -> Plain {
    Plain::Text(text.as_bytes().to_vec())
}

/// A handler has returned what is no answer.
#[derive(Debug)]
struct NoAnswer(&'static str);

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the service in Lua has answered with {}", self.0)
    }
}

impl std::error::Error for NoAnswer {}

/// A status, a body, and fields as names and values.
pub(crate) fn response(values: Vec<Plain>) -> Result<Response> {
    let mut values = values.into_iter();
    let mut response = Response::new(status(values.next())?);
    response = response.body(bytes(values.next())?);
    while let Some(name) = values.next() {
        let name = string(name)?;
        response = response.header(name, bytes(values.next())?);
    }
    Ok(response)
}

/// `refuse`, a status and a body; or `accept`, label, key, subprotocol, whether any origin may, and fields.
pub(crate) fn accept(values: Vec<Plain>) -> Result<Accept> {
    let mut values = values.into_iter();
    match string(values.next().unwrap_or(Plain::Nil))?.as_str() {
        "refuse" => {
            let refused = Accept::refuse(status(values.next())?);
            Ok(refused.body(bytes(values.next())?))
        }
        "accept" => {
            let mut accepted = Accept::new();
            if let Some(Plain::Text(label)) = values.next() {
                accepted = accepted.label(label);
            }
            if let Some(Plain::Text(key)) = values.next() {
                accepted = accepted.bind(key);
            }
            if let Some(protocol @ Plain::Text(_)) = values.next() {
                accepted = accepted.protocol(string(protocol)?);
            }
            if values.next() == Some(Plain::Flag(true)) {
                accepted = accepted.any_origin();
            }
            while let Some(name) = values.next() {
                let value = string(values.next().unwrap_or(Plain::Nil))?;
                accepted = accepted.header(string(name)?, value);
            }
            Ok(accepted)
        }
        _ => Err(NoAnswer("no decision about a session").into()),
    }
}

fn status(value: Option<Plain>) -> Result<u16> {
    match value {
        Some(Plain::Integer(status @ 200..=599)) => Ok(u16::try_from(status)?),
        _ => Err(NoAnswer("no status from 200 to 599").into()),
    }
}

fn bytes(value: Option<Plain>) -> Result<Vec<u8>> {
    match value {
        Some(Plain::Text(bytes)) => Ok(bytes),
        _ => Err(NoAnswer("a body or a field that is no string").into()),
    }
}

fn string(value: Plain) -> Result<String> {
    match value {
        Plain::Text(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(text),
            Err(_) => Err(NoAnswer("a name or a value that is not UTF-8").into()),
        },
        _ => Err(NoAnswer("a name or a value that is no string").into()),
    }
}
