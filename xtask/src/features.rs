//! The features of `moorline-net`: each compiles alone, and those without large dependencies stay small.

use std::collections::BTreeSet;

use crate::steps::{Failure, cargo};

const PACKAGE: &str = "moorline-net";
/// What brings large dependencies; what all other features need together is counted.
const LARGE: &[&str] = &["tls", "hickory"];
/// The most distinct crates under the package without the large features, itself among them.
const MOST_CRATES: usize = 60;

/// Lints the package without features, with each alone, and with all.
pub(crate) fn each_alone() -> Result<(), Failure> {
    let features = features()?;
    let sets = [String::new()]
        .into_iter()
        .chain(features.iter().cloned())
        .chain([features.join(",")]);
    for set in sets {
        let lint = format!("clippy --package {PACKAGE} --lib --locked --no-default-features");
        let lint = match set.is_empty() {
            true => lint,
            false => format!("{lint} --features {set}"),
        };
        cargo(&format!("{lint} -- -D warnings")).run()?;
    }
    Ok(())
}

/// Counts the distinct crates under the package.
pub(crate) fn few_crates() -> Result<(), Failure> {
    let mut features = features()?;
    features.retain(|feature| !LARGE.contains(&feature.as_str()));
    let tree = format!(
        "tree --package {PACKAGE} --locked --edges normal --prefix none --no-default-features --features {}",
        features.join(",")
    );
    let printed = cargo(&tree).output()?;
    let crates: BTreeSet<&str> = printed
        .lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .collect();
    println!("{} crates of at most {MOST_CRATES}", crates.len());
    match crates.len() <= MOST_CRATES {
        true => Ok(()),
        false => Err(Failure(format!(
            "{PACKAGE} without {} needs {} crates, and {MOST_CRATES} are allowed: make the new dependency optional",
            LARGE.join(" and "),
            crates.len()
        ))),
    }
}

/// The package's features, as its manifest has them.
fn features() -> Result<Vec<String>, Failure> {
    let printed = cargo("metadata --no-deps --locked --format-version 1").output()?;
    let wrong = |error: String| Failure(format!("cannot read what cargo metadata prints: {error}"));
    let metadata: serde_json::Value =
        serde_json::from_str(&printed).map_err(|error| wrong(error.to_string()))?;
    let package = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == PACKAGE)
        .ok_or_else(|| wrong(format!("it has no package {PACKAGE}")))?;
    let features = package["features"].as_object();
    let names = features
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .filter(|name| name != "default");
    Ok(names.collect())
}
