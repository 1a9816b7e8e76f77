//! The path of a request, as the name of a file beneath a folder.

/// A folder's own file.
const INDEX: &[u8] = b"index.html";
/// The folder of RFC 8615: the only one whose name begins with a dot that is served.
const WELL_KNOWN: &[u8] = b".well-known";

/// Why a path names no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadPath {
    /// An escape that is none, or of a byte that is in no name.
    Malformed,
    /// A name that begins with a dot.
    Hidden,
}

/// A decoded path: names beneath the folder, none of which is empty, `.` or `..`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FilePath {
    /// The names, with slashes between them.
    names: Vec<u8>,
    /// The path ends with a slash, or is empty.
    is_folder: bool,
}

impl FilePath {
    /// Decodes the path of a request. Slashes that follow each other count as one.
    ///
    /// # Errors
    /// It names no file that is served.
    pub(super) fn parse(path: &str) -> Result<Self, BadPath> {
        let mut names = Vec::with_capacity(path.len() + INDEX.len());
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            let is_first = names.is_empty();
            if !is_first {
                names.push(b'/');
            }
            let start = names.len();
            decode_into(segment, &mut names)?;
            let name = &names[start..];
            if name.starts_with(b".") && !(is_first && name == WELL_KNOWN) {
                return Err(BadPath::Hidden);
            }
        }
        Ok(Self {
            is_folder: path.ends_with('/') || names.is_empty(),
            names,
        })
    }

    /// The name of the file: a folder's is its `index.html`.
    pub(super) fn file(&self) -> Vec<u8> {
        match self.is_folder {
            false => self.names.clone(),
            true => self.index(),
        }
    }

    /// The name of the `index.html` that the path has as a folder.
    pub(super) fn index(&self) -> Vec<u8> {
        let slash: &[u8] = if self.names.is_empty() { b"" } else { b"/" };
        [&self.names, slash, INDEX].concat()
    }

    /// Whether it may be a folder's, written without its slash at the end.
    pub(super) fn lacks_slash(&self) -> bool {
        !self.is_folder
    }

    /// The path with a slash at the end, escaped so that no client takes it for anything but a path on this host.
    pub(super) fn with_slash(&self, query: Option<&str>) -> String {
        use std::fmt::Write;

        let mut location = String::from("/");
        for byte in &self.names {
            match byte {
                b'/' | b'-' | b'.' | b'_' | b'~' => location.push(char::from(*byte)),
                byte if byte.is_ascii_alphanumeric() => location.push(char::from(*byte)),
                byte => _ = write!(location, "%{byte:02X}"),
            }
        }
        location.push('/');
        if let Some(query) = query {
            location.push('?');
            location.push_str(query);
        }
        location
    }
}

/// Decodes one segment (RFC 3986 §2.1). An escaped slash or zero is in no file's name.
fn decode_into(segment: &str, names: &mut Vec<u8>) -> Result<(), BadPath> {
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        let decoded = match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let pair = digit().zip(digit());
                pair.map(|(high, low)| (high * 16 + low) as u8)
                    .filter(|byte| !matches!(byte, 0 | b'/'))
                    .ok_or(BadPath::Malformed)?
            }
            byte => byte,
        };
        names.push(decoded);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> Result<String, BadPath> {
        FilePath::parse(path).map(|path| String::from_utf8_lossy(&path.file()).into_owned())
    }

    #[test]
    fn a_path_names_a_file_and_a_folder_its_index() {
        for (path, name) in [
            ("/", "index.html"),
            ("/a", "a"),
            ("/a/", "a/index.html"),
            ("/a/b.css", "a/b.css"),
            ("//a///b", "a/b"),
            ("/with%20space", "with space"),
            ("/%e4%b8%ad", "中"),
            ("/50%25", "50%"),
            ("/a+b", "a+b"),
            ("/a..b/c.", "a..b/c."),
            ("/.well-known/acme", ".well-known/acme"),
        ] {
            assert_eq!(file(path).as_deref(), Ok(name), "{path}");
        }
    }

    #[test]
    fn a_path_that_no_file_has_is_malformed() {
        for path in [
            "/%",
            "/%4",
            "/%zz",
            "/%+1",
            "/%00",
            "/a%00.txt",
            "/a%2fb",
            "/a%2Fb",
        ] {
            assert_eq!(file(path), Err(BadPath::Malformed), "{path}");
        }
    }

    #[test]
    fn names_that_begin_with_a_dot_are_hidden() {
        for path in [
            "/.git/config",
            "/a/.env",
            "/..",
            "/../a",
            "/a/../b",
            "/./a",
            "/%2e%2e/a",
            "/.well-known/.a",
            "/a/.well-known/b",
            "/.well-known2",
        ] {
            assert_eq!(file(path), Err(BadPath::Hidden), "{path}");
        }
    }

    #[test]
    fn a_folder_without_its_slash_gets_it_and_stays_on_this_host() {
        let with_slash = |path, query| FilePath::parse(path).unwrap().with_slash(query);
        assert_eq!(with_slash("/a/b", None), "/a/b/");
        assert_eq!(with_slash("/a", Some("b=c&d")), "/a/?b=c&d");
        assert_eq!(with_slash("//evil.example", None), "/evil.example/");
        assert_eq!(with_slash("/%5cevil.example", None), "/%5Cevil.example/");
        assert_eq!(with_slash("/\\evil.example", None), "/%5Cevil.example/");
        assert_eq!(with_slash("/a%0d%0ab: c", None), "/a%0D%0Ab%3A%20c/");
        assert_eq!(with_slash("/%ff", None), "/%FF/");
    }
}
