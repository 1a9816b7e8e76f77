use crate::testing::{accepted, bare, given};
use crate::{Imported, Kind, Note};

mod backends;
mod client_rules;
mod expressions;
mod frontends;
mod peer_tls;
mod resolvers;
mod routes;

/// Patterns of `-f`.
const FILES: &[(&str, &str)] = &[
    ("/lists/office.lst", "# ours\n\n 10.0.0.0/8\n192.0.2.1 \n"),
    ("/lists/names.lst", "a.example\nb.example\n"),
    (
        "/lists/domains.map",
        "# name backend\na.example c\n B.example\td \nx.example nowhere\na.example d\n",
    ),
    ("/lists/networks.map", "10.0.0.0/8 c\n::1 d\n"),
    ("/lists/ports.map", "443 c\n8000:8001 d\n"),
    ("/lists/tenants.map", "^([a-z]+)\\.b\\.example$ back-\\1\n"),
    ("/lists/beginnings.map", "a d\na.b c\n"),
];

fn read(text: &str) -> Result<Imported, Vec<Note>> {
    given(Kind::Haproxy, "haproxy.cfg", text, FILES)
}

/// What is imported, without comments and the part that all have.
#[track_caller]
fn imported(text: &str) -> String {
    let imported = match read(text) {
        Ok(imported) => imported,
        Err(errors) => panic!("{text}: {errors:#?}"),
    };
    accepted(&imported.toml);
    bare(&imported.toml)
}

/// A frontend and a backend with these lines: the lines that they bring.
#[track_caller]
fn both(frontend: &str, backend: &str) -> String {
    let with = |frontend: &str, backend: &str| {
        imported(&format!(
            "frontend f\n bind :1\n default_backend b\n{frontend}\nbackend b\n server a 10.0.0.1:1\n{backend}\n"
        ))
    };
    let plain = with("", "");
    let lines = with(frontend, backend);
    let lines = lines
        .lines()
        .filter(|line| !plain.lines().any(|other| other == *line));
    lines.collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn errors(text: &str) -> Vec<String> {
    let errors = read(text).expect_err("it is wrong");
    errors.iter().map(ToString::to_string).collect()
}

/// The only error of a frontend and a backend with these lines.
#[track_caller]
fn refused(frontend: &str, backend: &str) -> String {
    let errors = errors(&format!(
        "frontend f\n bind :1\n default_backend b\n{frontend}\nbackend b\n server a 10.0.0.1:1\n{backend}\n"
    ));
    assert_eq!(errors.len(), 1, "{errors:?}");
    let (_, error) = errors[0].split_once(": ").expect("it has a place");
    error.to_owned()
}

#[track_caller]
fn remarks(text: &str) -> Vec<String> {
    let imported = read(text).expect("it is right");
    imported.remarks.iter().map(ToString::to_string).collect()
}
