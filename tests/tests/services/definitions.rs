//! The definitions for the Lua language server: each name of each module, as it is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use moorline_tests::{Finish, Site};

use super::names::{Name, modules};
use super::script::main_of;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/lua/definitions");
const SESSIONS: &str = include_str!("../../../crates/lua-app/lua/moorline.lua");

/// The definition of a module, or of the one that it stands for.
fn definition(module: &str) -> String {
    let path = format!("{FOLDER}/{}.lua", module.replace('.', "/"));
    let text = fs::read_to_string(&path)
        .unwrap_or_else(|_| panic!("{module} has no definition: write crates/lua/definitions"));
    assert!(text.starts_with(&format!("---@meta {module}\n")), "{path}");
    match text.split_once("\nreturn require \"") {
        Some((_, other)) => definition(other.split('"').next().unwrap_or_default()),
        None => text,
    }
}

/// A function of a definition: what stands above it, its name as in `names.txt`, its parameters.
struct Defined<'a> {
    above: Vec<&'a str>,
    name: String,
    parameters: Vec<&'a str>,
}

fn functions(text: &str) -> Vec<Defined<'_>> {
    let mut above = Vec::new();
    let mut functions = Vec::new();
    for line in text.lines() {
        if line.starts_with("---") {
            above.push(line);
            continue;
        }
        let is_module = line.starts_with("local function ");
        let declared = line.trim_start_matches("local ");
        if let Some(rest) = declared.strip_prefix("function ") {
            let (name, rest) = rest.split_once('(').expect("a function has parameters");
            let name = match (is_module, name.split_once('.')) {
                (true, _) => "()",
                (_, Some((_, name))) => name,
                _ => name,
            };
            let parameters = rest.trim_end_matches(") end").split(", ");
            functions.push(Defined {
                above: above.clone(),
                name: name.to_owned(),
                parameters: parameters.filter(|name| !name.is_empty()).collect(),
            });
        }
        above.clear();
    }
    functions
}

/// Whether something is declared that is no function: a value, a field, an object that is called.
fn declares(text: &str, name: &str) -> bool {
    let field = |name: &str| text.contains(&format!("\n---@field {name} "));
    match name.split_once(':') {
        None => field(name),
        Some((kind, "()")) => text
            .lines()
            .zip(text.lines().skip(1))
            .any(|(first, second)| {
                first.ends_with(&format!(".{kind}")) && second.starts_with("---@overload ")
            }),
        Some((_, name)) if name.starts_with('<') => text.contains("\n---@field [string] "),
        Some((_, name)) => field(name.split('.').next().unwrap_or(name)),
    }
}

/// Whether the parameters are those that the list of names has.
fn fits(name: &Name, parameters: &[&str]) -> bool {
    let count = parameters.iter().filter(|name| **name != "...").count();
    let has_more = count < parameters.len();
    match name.arity.strip_suffix('+') {
        Some(least) => has_more && least.parse() == Ok(count),
        None => match name.arity.parse::<usize>() {
            Ok(exactly) => !has_more && exactly == count,
            Err(_) => match name.arity.strip_prefix("C<") {
                Some(most) => most.parse::<usize>().is_ok_and(|most| count <= most),
                None => true,
            },
        },
    }
}

#[track_caller]
fn is_documented(module: &str, function: &Defined<'_>) {
    let place = format!("{module} {}", function.name);
    let is_text = |line: &&&str| !line.starts_with("---@") && line.ends_with(['.', '`']);
    assert_eq!(function.above.iter().filter(is_text).count(), 1, "{place}");
    let named = function.above.iter();
    let named = named.filter_map(|line| line.strip_prefix("---@param "));
    let named = named.filter_map(|line| line.split_once(' '));
    let named: Vec<&str> = named.map(|(name, _)| name.trim_end_matches('?')).collect();
    assert_eq!(named, function.parameters, "{place}");
}

#[test]
fn each_name_of_each_module_has_its_definition_and_no_other_name_has_one() {
    let mut wrong = Vec::new();
    for module in modules().iter().filter(|module| !module.is_internal) {
        let text = definition(module.name);
        let functions = functions(&text);
        for name in &module.names {
            let place = format!("{} {}", module.name, name.text);
            match functions.iter().find(|defined| defined.name == name.text) {
                Some(function) if fits(name, &function.parameters) => {
                    is_documented(module.name, function);
                }
                Some(function) => {
                    let has = function.parameters.join(", ");
                    wrong.push(format!("{place} has ({has}), not {}", name.arity));
                }
                None if declares(&text, name.text) => {}
                None => wrong.push(format!("{place} has no definition")),
            }
        }
        for function in functions {
            if !module.names.iter().any(|name| name.text == function.name) {
                wrong.push(format!("{} has no {}", module.name, function.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_function_of_sessions_has_its_definition() {
    let text = definition("moorline");
    let defined: BTreeSet<String> = functions(&text)
        .iter()
        .inspect(|function| is_documented("moorline", function))
        .map(|function| function.name.clone())
        .collect();
    let declared = SESSIONS.lines();
    let declared = declared.filter_map(|line| line.strip_prefix("function "));
    let declared = declared.filter_map(|line| line.split('(').next());
    let values = ["leader".to_owned()];
    let declared: BTreeSet<String> = declared
        .filter(|name| !name.contains("__") && !name.starts_with("events."))
        .map(|name| name.trim_start_matches("moorline.").to_owned())
        .chain(values)
        .collect();
    assert_eq!(defined, declared);
}

/// The files below a folder.
fn below(folder: &Path) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("the folder is there").flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let path = path.strip_prefix(folder).expect("it is below");
                    files.insert(path.display().to_string());
                }
            }
        }
    }
    files
}

#[test]
fn the_program_writes_all_definitions_and_they_are_lua() {
    let site = Site::new("moorline", "");
    let written = site.command(&["run", "--sdk", "sdk"]).finish();
    written.expect_success();
    let library = site.path("sdk/library");
    let files = below(Path::new(FOLDER));
    assert_eq!(below(&library), files);
    let mut body = String::new();
    for file in &files {
        let (kept, written) = (Path::new(FOLDER).join(file), library.join(file));
        assert_eq!(fs::read(kept).ok(), fs::read(written).ok(), "{file}");
        body += &format!("assert(loadfile 'sdk/library/{file}', '{file}')\n");
    }
    site.write("main.lua", main_of(&body));
    site.command(&["run", "main.lua"]).finish().expect_success();
}
