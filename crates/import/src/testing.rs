//! What tests of both programs have in common.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::{Files, Imported, Kind, Note, Source, import};

/// Files that a test has written.
struct Given(&'static [(&'static str, &'static str)]);

impl Files for Given {
    fn read(&mut self, path: &Path) -> io::Result<String> {
        let found = self.0.iter().find(|(name, _)| Path::new(name) == path);
        let (_, text) = found.ok_or(io::ErrorKind::NotFound)?;
        Ok((*text).to_owned())
    }

    fn matching(&mut self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        let folder = pattern.parent().unwrap_or(Path::new("/"));
        let names = self.0.iter().map(|(name, _)| PathBuf::from(name));
        Ok(names.filter(|name| name.starts_with(folder)).collect())
    }
}

/// Imports a text with these files, as if it lay in /etc/nginx.
pub(crate) fn given(
    kind: Kind,
    name: &str,
    text: &str,
    files: &'static [(&'static str, &'static str)],
) -> Result<Imported, Vec<Note>> {
    let source = Source {
        name,
        folder: Path::new("/etc/nginx"),
        text,
    };
    import(&source, kind, &mut Given(files))
}

/// A whole file is a configuration that Moorline takes.
#[track_caller]
pub(crate) fn accepted(toml: &str) {
    let toml = &toml.replace("/etc/nginx/", &format!("{}/", folder().display()));
    if let Err(errors) = moorline_config::load_text(toml, Path::new("/etc/nginx/nginx.toml")) {
        panic!("{errors}\n{toml}");
    }
}

/// A folder with a certificate, `a.crt` with its key `a.key`, and both in `both.pem`. It stands for /etc/nginx.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let made = || {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let names = vec!["a.example".to_owned()];
        let issued = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let key = issued.signing_key.serialize_pem();
        let both = issued.cert.pem() + &key;
        for (name, content) in [
            ("a.crt", issued.cert.pem()),
            ("a.key", key),
            ("both.pem", both),
        ] {
            std::fs::write(folder.path().join(name), content).expect("the folder can be written");
        }
        folder
    };
    FOLDER.get_or_init(made).path()
}

pub(crate) fn bare(toml: &str) -> String {
    let lines = toml
        .lines()
        .map(|line| line.split("  # ").next().unwrap_or(line));
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines: Vec<_> = lines.skip(2).collect();
    lines.join("\n")
}
