//! What the files of a crate import from each other: never in a circle, and in the gateway only downwards.
//!
//! Reads the `use` lines. The gateway's `lib.rs` lists its modules from top to bottom, and a file may only import what
//! stands in its own line or below.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::steps::{Failure, root};

/// The crates whose files must not import each other in a circle: all of them.
const CRATES: &[&str] = &[
    "crates/moorline",
    "crates/demo",
    "crates/engine",
    "crates/supervisor",
    "crates/gateway",
    "crates/worker",
    "crates/admin",
    "crates/process",
    "crates/protocol",
    "crates/proxy",
    "crates/import",
    "crates/config",
    "crates/net",
    "crates/ipc",
];

/// Fails with each circle, and each arrow that points up.
pub(crate) fn point_down() -> Result<(), Failure> {
    let mut found = Vec::new();
    for name in CRATES {
        let files = Files::read(&root().join(name).join("src"))
            .map_err(|error| Failure(format!("{name}: {error}")))?;
        found.extend(files.circles().iter().map(|circle| {
            let circle = circle.join(" -> ");
            format!("{name}: a circle of imports: {circle}")
        }));
        let upwards = files.upwards();
        found.extend(upwards.iter().map(|arrow| format!("{name}: {arrow}")));
    }
    match found.is_empty() {
        true => Ok(()),
        false => Err(Failure(found.join("\n"))),
    }
}

/// The files of one crate, by their module paths, and what each imports from the others.
struct Files {
    imports: BTreeMap<String, BTreeSet<String>>,
    /// The top modules in order; empty where none is said.
    order: Vec<String>,
}

impl Files {
    fn read(src: &Path) -> std::io::Result<Self> {
        let mut texts = BTreeMap::new();
        collect(src, src, &mut texts)?;
        let root = texts.remove("lib").unwrap_or_default();
        let modules = Modules::new(texts.keys().cloned().collect(), &root);
        let imports = texts
            .iter()
            .map(|(module, text)| (module.clone(), imports(module, text, &modules)));
        Ok(Self {
            imports: imports.collect(),
            order: order(&root),
        })
    }

    /// One circle for each file that is in one, found from the first of its files.
    fn circles(&self) -> Vec<Vec<String>> {
        let mut done = BTreeSet::new();
        let mut circles = Vec::new();
        for module in self.imports.keys() {
            self.walk(module, &mut Vec::new(), &mut done, &mut circles);
        }
        circles
    }

    fn walk(
        &self,
        module: &str,
        way: &mut Vec<String>,
        done: &mut BTreeSet<String>,
        circles: &mut Vec<Vec<String>>,
    ) {
        if let Some(begin) = way.iter().position(|seen| seen == module) {
            let mut circle = way[begin..].to_vec();
            circle.push(module.to_owned());
            circles.push(circle);
            return;
        }
        if done.contains(module) {
            return;
        }
        way.push(module.to_owned());
        for import in self.imports.get(module).into_iter().flatten() {
            self.walk(import, way, done, circles);
        }
        way.pop();
        done.insert(module.to_owned());
    }

    /// The arrows that point up the list, and the modules that it does not name.
    fn upwards(&self) -> Vec<String> {
        if self.order.is_empty() {
            return Vec::new();
        }
        let line = |module: &str| {
            let top = module.split("::").next().unwrap_or(module);
            self.order.iter().position(|listed| listed == top)
        };
        let mut found = Vec::new();
        for (module, imports) in &self.imports {
            let Some(from) = line(module) else {
                found.push(format!("{module} is not in the list of lib.rs"));
                continue;
            };
            for import in imports {
                if line(import).is_some_and(|to| to < from) {
                    found.push(format!("{module} imports {import}, which stands above it"));
                }
            }
        }
        found
    }
}

/// The sources in a folder, without tests, by their module paths.
fn collect(src: &Path, folder: &Path, texts: &mut BTreeMap<String, String>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path: PathBuf = entry?.path();
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            collect(src, &path, texts)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let module = path.strip_prefix(src).unwrap_or(&path).with_extension("");
            let module = module.to_string_lossy().replace('/', "::");
            texts.insert(module, fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

/// The files of a crate by their module paths, and the names that its first file gives to what they have.
struct Modules {
    files: BTreeSet<String>,
    /// `Name` where the first file says `pub use module::Name`: the module.
    shortcuts: BTreeMap<String, String>,
}

impl Modules {
    fn new(files: BTreeSet<String>, root: &str) -> Self {
        let mut modules = Self {
            files,
            shortcuts: BTreeMap::new(),
        };
        for path in uses(root) {
            let path = path.trim_start_matches("self::");
            let name = path.rsplit("::").next().unwrap_or(path);
            if let Some(file) = modules.file(path) {
                modules.shortcuts.insert(name.to_owned(), file);
            }
        }
        modules
    }

    /// The file that has what a path from the crate's root names: the longest part of the path that is one.
    fn file(&self, path: &str) -> Option<String> {
        let first = path.split("::").next().unwrap_or(path);
        if let Some(file) = self.shortcuts.get(first) {
            return Some(file.clone());
        }
        let mut part = path;
        while !self.files.contains(part) {
            part = &part[..part.rfind("::")?];
        }
        Some(part.to_owned())
    }
}

/// The modules of the same crate that a file imports: what `use crate::…` and `use super::…` name. A parent names its
/// children by its own path, which does not count.
fn imports(module: &str, text: &str, modules: &Modules) -> BTreeSet<String> {
    let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
    let full = |path: String| {
        if let Some(path) = path.strip_prefix("crate::") {
            return Some(path.to_owned());
        }
        let path = path.strip_prefix("super::")?;
        let full = format!("{parent}::{path}");
        Some(full.trim_start_matches("::").to_owned())
    };
    let files = uses(text)
        .filter_map(full)
        .filter_map(|path| modules.file(&path));
    files.filter(|file| file != module).collect()
}

/// The paths that a text's `use` lines name, without those of its own tests, which may import what they like.
fn uses(text: &str) -> impl Iterator<Item = String> {
    let text = text.split("#[cfg(test)]\nmod tests {").next();
    let text = text.unwrap_or_default();
    let text = text
        .replace("\npub use ", "\nuse ")
        .replace("\npub(crate) use ", "\nuse ")
        .replace("\npub(super) use ", "\nuse ");
    let items = text.split("\nuse ").skip(1);
    let items = items.filter_map(|item| item.split(';').next());
    let paths: Vec<_> = items
        .flat_map(|item| paths(&item.replace(['\n', ' '], "")))
        .collect();
    paths.into_iter()
}

/// The paths that one `use` names: `a::{b, c::d}` are two.
fn paths(item: &str) -> Vec<String> {
    let Some(open) = item.find('{') else {
        return vec![item.to_owned()];
    };
    let (prefix, inner) = (&item[..open], item[open + 1..].trim_end_matches('}'));
    let (mut depth, mut begin, mut found) = (0, 0, Vec::new());
    // The braces that were open inside have lost their ends with the outer one.
    let lost = inner.matches('{').count() - inner.matches('}').count();
    let inner = format!("{inner}{}", "}".repeat(lost));
    for (at, letter) in inner.char_indices().chain([(inner.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = &inner[begin..at];
                found.extend(
                    paths(part)
                        .into_iter()
                        .map(|path| format!("{prefix}{path}")),
                );
                begin = at + 1;
            }
            _ => {}
        }
    }
    found.retain(|path| !path.ends_with("::"));
    found
}

/// What a crate's first page says above such a list.
const LIST: &str = "//! The modules, from top to bottom";

/// The modules that a crate's first page lists from top to bottom: its lines ``//! - `name` ``. None without such a list.
fn order(root: &str) -> Vec<String> {
    let lines = root.lines().skip_while(|line| !line.starts_with(LIST));
    lines
        .filter_map(|line| line.strip_prefix("//! - `"))
        .filter_map(|line| line.split('`').next())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(texts: &[(&str, &str)], order: &[&str]) -> Files {
        let names = texts.iter().map(|(name, _)| (*name).to_owned());
        let modules = Modules::new(names.collect(), ROOT);
        let imports = texts
            .iter()
            .map(|(name, text)| ((*name).to_owned(), imports(name, text, &modules)));
        Files {
            imports: imports.collect(),
            order: order.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    /// The first file of a crate.
    const ROOT: &str = "\nmod c;\n\npub(crate) use self::c::d::{Thing, Other};\nuse std::fmt;\n";

    #[test]
    fn a_circle_by_way_of_a_name_of_the_first_file_is_one() {
        let files = files(
            &[
                ("a", "\nuse crate::{Thing, b};\n"),
                ("b", ""),
                ("c::d", "\nuse crate::a::One;\n"),
            ],
            &[],
        );
        assert_eq!(files.circles(), [["a", "c::d", "a"]]);
    }

    #[test]
    fn a_circle_of_files_is_named_once() {
        let files = files(
            &[
                ("a", "\nuse crate::b::{One, Two};\n"),
                ("b", "\nuse super::c::d;\n"),
                ("c", ""),
                ("c::d", "\nuse crate::{a, c};\n"),
            ],
            &[],
        );
        assert_eq!(files.circles(), [["a", "b", "c::d", "a"]]);
    }

    #[test]
    fn an_arrow_that_points_up_and_an_unlisted_file_are_named() {
        let files = files(
            &[
                ("top", "\nuse crate::bottom::Thing;\n"),
                ("bottom", "\nuse crate::top::Other;\n"),
                ("stray", ""),
            ],
            &["top", "bottom"],
        );
        assert_eq!(
            files.upwards(),
            [
                "bottom imports top, which stands above it",
                "stray is not in the list of lib.rs"
            ]
        );
    }

    #[test]
    fn files_import_in_no_circle_and_the_gateway_downwards_only() {
        if let Err(Failure(found)) = point_down() {
            panic!("{found}");
        }
    }
}
