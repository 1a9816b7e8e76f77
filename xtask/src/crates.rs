//! The dependencies between the project's crates: those that ARCHITECTURE.md draws, and no others.
//!
//! The picture has a level for each group of lines that name a crate. A crate may depend on crates of lower levels, also in
//! its tests; never on one of its own level.

use std::fs;

use serde_json::Value;

use crate::steps::{Failure, cargo, root};

const PAGE: &str = "ARCHITECTURE.md";
const TITLE: &str = "## Crates";
/// Where the crates of the picture are.
const FOLDER: &str = "crates/";

/// Fails with each dependency that the picture forbids, and each crate that it does not show.
pub(crate) fn depend_as_drawn() -> Result<(), Failure> {
    let page = fs::read_to_string(root().join(PAGE))
        .map_err(|error| Failure(format!("cannot read {PAGE}: {error}")))?;
    let printed = cargo("metadata --no-deps --locked --format-version 1").output()?;
    let metadata: Value = serde_json::from_str(&printed)
        .map_err(|error| Failure(format!("cannot read what cargo metadata prints: {error}")))?;
    let wrong = wrong(&levels(&page), &dependencies(&metadata));
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Failure(wrong.join("\n"))),
    }
}

/// The folders of the crates that the page draws, level by level, from top to bottom.
fn levels(page: &str) -> Vec<Vec<&str>> {
    let picture = page.split(TITLE).nth(1).unwrap_or_default();
    let picture = picture.split("```").nth(1).unwrap_or_default();
    let mut levels = vec![Vec::new()];
    for line in picture.lines() {
        match line.find(FOLDER) {
            Some(at) => levels.last_mut().into_iter().for_each(|level| {
                level.push(line[at + FOLDER.len()..].trim());
            }),
            None => levels.push(Vec::new()),
        }
    }
    levels.retain(|level| !level.is_empty());
    levels
}

/// The crates in the folder of crates, each with those that it depends on, also in its tests.
fn dependencies(metadata: &Value) -> Vec<(String, Vec<String>)> {
    let folder = |path: &Value| {
        let path = path.as_str()?.trim_end_matches("/Cargo.toml");
        let (_, name) = path.split_once(&format!("{}/{FOLDER}", root().display()))?;
        Some(name.to_owned())
    };
    let packages = metadata["packages"].as_array().into_iter().flatten();
    packages
        .filter_map(|package| {
            let name = folder(&package["manifest_path"])?;
            let all = package["dependencies"].as_array().into_iter().flatten();
            let ours = all.filter_map(|dependency| folder(&dependency["path"]));
            // A crate names itself to have its own tests built with another feature.
            let others = ours.filter(|other| *other != name).collect();
            Some((name, others))
        })
        .collect()
}

/// What does not agree.
fn wrong(levels: &[Vec<&str>], crates: &[(String, Vec<String>)]) -> Vec<String> {
    let level = |name: &str| levels.iter().position(|level| level.contains(&name));
    let mut wrong = Vec::new();
    for (name, others) in crates {
        let Some(from) = level(name) else {
            wrong.push(format!("{PAGE} does not draw {FOLDER}{name}"));
            continue;
        };
        let upwards = others
            .iter()
            .filter(|other| level(other).is_some_and(|to| to <= from));
        wrong.extend(upwards.map(|other| {
            format!(
                "{FOLDER}{name} depends on {FOLDER}{other}, which {PAGE} does not draw below it"
            )
        }));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURE: &str = "\
## Crates

```
top      words     crates/top
   │
   ├─ left         crates/left
   └─ right        crates/right
         │
      bottom       crates/bottom
```
crates/other
";

    #[test]
    fn a_picture_is_read_level_by_level() {
        let expected = [vec!["top"], vec!["left", "right"], vec!["bottom"]];
        assert_eq!(levels(PICTURE), expected);
    }

    #[test]
    fn a_dependency_upwards_or_on_a_neighbour_is_named_and_so_is_a_crate_that_is_not_drawn() {
        let crates = [
            ("top", vec!["left", "bottom"]),
            ("left", vec!["right", "bottom"]),
            ("right", vec!["bottom"]),
            ("bottom", vec!["top"]),
            ("new", vec!["bottom"]),
        ];
        let crates = crates.map(|(name, others)| {
            let others = others.into_iter().map(str::to_owned).collect();
            (name.to_owned(), others)
        });
        assert_eq!(
            wrong(&levels(PICTURE), &crates),
            [
                "crates/left depends on crates/right, which ARCHITECTURE.md does not draw below it",
                "crates/bottom depends on crates/top, which ARCHITECTURE.md does not draw below it",
                "ARCHITECTURE.md does not draw crates/new",
            ]
        );
    }

    #[test]
    fn crates_depend_on_those_below_them_only() {
        if let Err(Failure(found)) = depend_as_drawn() {
            panic!("{found}");
        }
    }

    #[test]
    fn supervisor_gateway_and_worker_stand_on_one_level_of_the_page() {
        let page = fs::read_to_string(root().join(PAGE)).expect("the page is there");
        assert!(levels(&page).contains(&vec!["supervisor", "gateway", "worker", "admin"]));
    }
}
