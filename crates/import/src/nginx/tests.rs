use crate::testing::{accepted, bare, given};
use crate::{Imported, Kind, Note};

mod access;
mod datagrams;
mod limits;
mod logs;
mod maps;
mod peer_ssl;
mod resolving;
mod servers;
mod ssl;
mod syntax;
mod transport;
mod upstreams;

pub(super) fn read(
    text: &str,
    files: &'static [(&'static str, &'static str)],
) -> Result<Imported, Vec<Note>> {
    given(Kind::Nginx, "nginx.conf", text, files)
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
