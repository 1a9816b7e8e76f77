//! `preread` of a listener: the hello of a TLS client is read before a peer is chosen, and passed on as it came.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::destination;
use super::error::Reported;
use super::walk::{Field, Section};

/// Larger than any hello, also with the keys of post-quantum exchanges.
const DEFAULT_BUFFER: u32 = 16 << 10;
/// As long as nginx waits.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// A gateway's loop reads no more at once.
const LARGEST_BUFFER: u64 = 64 << 10;

const HINT: &str = r#"write preread = { buffer = "16KiB", timeout = "30s" }, or preread = {}"#;

/// How the hello of a TLS client is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preread {
    /// The most bytes that a hello may have, with its records. Default 16 KiB.
    pub buffer: u32,
    /// How long it may take. Default 30 s.
    pub timeout: Duration,
}

impl Default for Preread {
    fn default() -> Self {
        Self {
            buffer: DEFAULT_BUFFER,
            timeout: DEFAULT_TIMEOUT,
        }
    }
}

/// Reads the key of a listener.
pub(super) fn preread(section: &Section<'_>) -> Result<Option<Preread>, Reported> {
    let preread = section.read("preread", |field| read(&field))?;
    if !destination::is_written(section) {
        section.refuse_keys(&["preread"], "has no effect without `upstream` or `return`")?;
    }
    if section.has("tls") {
        section.refuse_keys(
            &["preread"],
            "has no effect with `tls`: the gateway itself ends TLS, and knows what the client asks for",
        )?;
    }
    Ok(preread)
}

fn read(field: &Field<'_>) -> Result<Preread, Reported> {
    let section = field.section("`preread`", HINT)?;
    let buffer = section.read("buffer", |field| {
        let size = field.size()?;
        match u32::try_from(size) {
            Ok(buffer) if size <= LARGEST_BUFFER => Ok(buffer),
            _ => Err(field.refuse(
                format!("`buffer` has {size} bytes: no hello is that long"),
                r#"write "64KiB" at most"#,
            )),
        }
    });
    let timeout = section.read("timeout", |field| field.timeout());
    section.finish()?;
    let default = Preread::default();
    Ok(Preread {
        buffer: buffer?.unwrap_or(default.buffer),
        timeout: timeout?.unwrap_or(default.timeout),
    })
}
