use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::{Files, Imported, Kind, Note, Source, import};

mod access;
mod ssl;
mod syntax;
mod transport;
mod upstreams;

/// Files that a test has written.
pub(super) struct Given(pub(super) &'static [(&'static str, &'static str)]);

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

pub(super) fn read(text: &str, files: &'static [(&str, &str)]) -> Result<Imported, Vec<Note>> {
    let source = Source {
        name: "nginx.conf",
        folder: Path::new("/etc/nginx"),
        text,
    };
    import(&source, Kind::Nginx, &mut Given(files))
}

/// What is imported, without comments and the part that all have.
#[track_caller]
pub(super) fn imported(text: &str) -> String {
    let imported = match read(text, &[]) {
        Ok(imported) => imported,
        Err(errors) => panic!("{text}: {errors:#?}"),
    };
    accepted(&imported.toml);
    bare(&imported.toml)
}

/// A whole file is a configuration that Moorline takes.
#[track_caller]
fn accepted(toml: &str) {
    let toml = &toml.replace("/etc/nginx/", &format!("{}/", folder().display()));
    if let Err(errors) = moorline_config::load_text(toml, Path::new("/etc/nginx/nginx.toml")) {
        panic!("{errors}\n{toml}");
    }
}

/// A folder with a certificate, `a.crt` with its key `a.key`, which stands for /etc/nginx.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let made = || {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let names = vec!["a.example".to_owned()];
        let issued = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let key = issued.signing_key.serialize_pem();
        for (name, content) in [("a.crt", issued.cert.pem()), ("a.key", key)] {
            std::fs::write(folder.path().join(name), content).expect("the folder can be written");
        }
        folder
    };
    FOLDER.get_or_init(made).path()
}

fn bare(toml: &str) -> String {
    let lines = toml
        .lines()
        .map(|line| line.split("  # ").next().unwrap_or(line));
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines: Vec<_> = lines.skip(2).collect();
    lines.join("\n")
}

/// One server whose directives these are, which relays to 10.0.0.1:80: the lines that they bring.
#[track_caller]
pub(super) fn server(directives: &str) -> String {
    let with = |directives: &str| {
        let pass = "listen 1; proxy_pass 10.0.0.1:80;";
        imported(&format!("stream {{ server {{ {pass} {directives} }} }}"))
    };
    let plain = with("");
    let lines = with(directives);
    let lines: Vec<_> = lines
        .lines()
        .filter(|line| !plain.lines().any(|other| other == *line))
        .collect();
    lines.join("\n")
}

/// The errors of a file, each with its line.
#[track_caller]
pub(super) fn errors(text: &str) -> Vec<String> {
    let errors = read(text, &[]).expect_err("it is wrong");
    errors.iter().map(ToString::to_string).collect()
}

/// The error of a server with these directives in its second line.
#[track_caller]
pub(super) fn refused(directives: &str) -> String {
    let text =
        format!("stream {{ server {{ listen 1; proxy_pass 10.0.0.1:80;\n{directives}\n}} }}");
    let errors = errors(&text);
    assert_eq!(errors.len(), 1, "{directives}: {errors:?}");
    let error = errors[0].strip_prefix("nginx.conf:2: ");
    error.unwrap_or_else(|| panic!("{errors:?}")).to_owned()
}

/// The remarks of a file.
#[track_caller]
pub(super) fn remarks(text: &str) -> Vec<String> {
    let imported = read(text, &[]).expect("it is right");
    imported.remarks.iter().map(ToString::to_string).collect()
}
