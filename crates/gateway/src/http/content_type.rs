//! The type of a file's content, from the end of its name.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use hyper::header::HeaderValue;
use mime_guess::Mime;
use mime_guess::mime;

/// Types that are registered today and that the table of `mime_guess` has under an older name, or not at all.
const NEWER: &[(&str, &str)] = &[
    ("cjs", "text/javascript"),
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("m4a", "audio/mp4"),
    ("map", "application/json"),
    ("md", "text/markdown"),
    ("mjs", "text/javascript"),
    ("otf", "font/otf"),
    ("woff", "font/woff"),
];

/// Types outside `text/` whose files are worth compressing.
const COMPRESSIBLE: &[&str] = &[
    "application/javascript",
    "application/json",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/xml",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/x-icon",
];

/// The type of a file's content.
#[derive(Debug)]
pub(super) struct ContentType(Mime);

impl ContentType {
    pub(super) fn of(name: &[u8]) -> Self {
        let path = Path::new(OsStr::from_bytes(name));
        let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        let newer = NEWER
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(extension))
            .and_then(|(_, newer)| newer.parse().ok());
        Self(newer.unwrap_or_else(|| mime_guess::from_path(path).first_or_octet_stream()))
    }

    /// Whether compressed files of this type are looked for.
    pub(super) fn is_compressible(&self) -> bool {
        self.0.type_() == mime::TEXT
            || self
                .0
                .suffix()
                .is_some_and(|suffix| suffix == mime::XML || suffix == mime::JSON)
            || COMPRESSIBLE.contains(&self.0.essence_str())
    }

    /// The value of the header. Text is UTF-8.
    pub(super) fn value(&self) -> Option<HeaderValue> {
        let text = match self.0.type_() {
            mime::TEXT => format!("{}; charset=utf-8", self.0),
            _ => self.0.to_string(),
        };
        HeaderValue::from_str(&text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_web_have_the_types_that_browsers_want() {
        for (name, expected, is_compressible) in [
            ("a.html", "text/html; charset=utf-8", true),
            ("a.css", "text/css; charset=utf-8", true),
            ("a.js", "text/javascript; charset=utf-8", true),
            ("a.min.MJS", "text/javascript; charset=utf-8", true),
            ("a.js.map", "application/json", true),
            ("a.json", "application/json", true),
            ("a.webmanifest", "application/manifest+json", true),
            ("a.wasm", "application/wasm", true),
            ("a.svg", "image/svg+xml", true),
            ("a.ico", "image/x-icon", true),
            ("a.txt", "text/plain; charset=utf-8", true),
            ("a.md", "text/markdown; charset=utf-8", true),
            ("a.ttf", "font/ttf", true),
            ("a.woff", "font/woff", false),
            ("a.woff2", "font/woff2", false),
            ("a.png", "image/png", false),
            ("a.jpg", "image/jpeg", false),
            ("a.webp", "image/webp", false),
            ("a.avif", "image/avif", false),
            ("a.mp4", "video/mp4", false),
            ("a.pdf", "application/pdf", false),
            ("a.js.gz", "application/gzip", false),
            ("a.unknown", "application/octet-stream", false),
            ("LICENSE", "application/octet-stream", false),
        ] {
            let kind = ContentType::of(name.as_bytes());
            assert_eq!(kind.value().unwrap(), expected, "{name}");
            assert_eq!(kind.is_compressible(), is_compressible, "{name}");
        }
    }
}
