//! The page that tells which names of skynet's modules are there.

use std::fmt::Write;
use std::{env, fs};

use super::names::{Found, Module, Name, look, modules};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/lua.md");

#[test]
fn the_page_of_names_says_what_a_script_finds() {
    let modules = modules();
    let found = look(&modules);
    let page = page(&modules, &found);
    if env::var_os("MOORLINE_WRITE_PAGES").is_some() {
        fs::write(PAGE, &page).expect("the page can be written");
    }
    let kept = fs::read_to_string(PAGE).unwrap_or_default();
    let changed = page
        .lines()
        .find(|line| !kept.lines().any(|kept| kept == *line));
    assert!(
        kept == page,
        "docs/reference/lua.md is not current: write it with `cargo xtask docs`. The first other line: {changed:?}"
    );
}

#[test]
fn what_is_marked_as_there_is_in_a_module_that_is_there() {
    let modules = modules();
    let found = look(&modules);
    for module in &modules {
        for name in module.names.iter().filter(|name| name.is_marked()) {
            let place = format!("{} {}", module.name, name.text);
            assert!(found.module(module), "{place}: there is no such module");
            assert!(found.name(module, name), "{place}: there is no such name");
        }
    }
}

#[test]
fn the_list_has_all_names() {
    let modules = modules();
    let count = |is_internal| counted(&modules, is_internal).count();
    assert_eq!((count(false), count(true)), (480, 135));
}

fn counted(modules: &[Module], is_internal: bool) -> impl Iterator<Item = (&Module, &Name)> {
    let modules = modules
        .iter()
        .filter(move |module| module.is_internal == is_internal);
    let names = modules.flat_map(|module| module.names.iter().map(move |name| (module, name)));
    names.filter(|(_, name)| name.is_counted())
}

fn works(module: &Module, name: &Name, found: &Found) -> bool {
    found.name(module, name) && name.refusal.is_none()
}

fn page(modules: &[Module], found: &Found) -> String {
    let count = |is_internal| {
        let names = || counted(modules, is_internal);
        let there = names().filter(|(module, name)| works(module, name, found));
        format!("{} of {}", there.count(), names().count())
    };
    let mut page = format!(
        "# Names of Lua services\n\n\
         This page lists the names of skynet's modules that a script finds here. `moorline run` has **{}** functions and methods of skynet's modules, and {} of the modules that others stand on.\n\
         A test requires every module and looks for every function. `cargo xtask docs` writes this page.\n\n\
         A method has the kind of its object before a colon; `()` is the module itself, which is called. `crates/lua/names.txt` has the\n\
         number of arguments of each. See [Lua services](../guide/services.md) for what differs.\n",
        count(false),
        count(true),
    );
    for (is_internal, title) in [(false, "Modules"), (true, "Modules that others stand on")] {
        let _ = write!(
            page,
            "\n## {title}\n\n| module | | there | not there |\n| --- | --- | --- | --- |\n"
        );
        for module in modules
            .iter()
            .filter(|module| module.is_internal == is_internal)
        {
            page += &row(module, found);
        }
    }
    page += &refusals(modules);
    page
}

fn row(module: &Module, found: &Found) -> String {
    let counted = || module.names.iter().filter(|name| name.is_counted());
    let there = counted().filter(|name| works(module, name, found)).count();
    let cell = |is_there: bool| {
        let names = module.names.iter();
        let names = names.filter(|name| works(module, name, found) == is_there);
        let names: Vec<String> = names.map(|name| format!("`{}`", name.text)).collect();
        names.join(" ")
    };
    let missing = match found.module(module) {
        true => cell(false),
        false => "the module".to_owned(),
    };
    let all = counted().count();
    format!(
        "| `{}` | {there} of {all} | {} | {missing} |\n",
        module.name,
        cell(true)
    )
}

/// What raises an error, and why.
fn refusals(modules: &[Module]) -> String {
    let mut lines = String::new();
    for module in modules {
        for name in &module.names {
            if let Some(reason) = name.refusal {
                let _ = writeln!(lines, "- `{}`, `{}`: {reason}", module.name, name.text);
            }
        }
    }
    match lines.is_empty() {
        true => lines,
        false => format!(
            "\n## What cannot work\n\nThese functions are there, and raise an error that says this:\n\n{lines}"
        ),
    }
}
