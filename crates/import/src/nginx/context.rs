//! What all directives of an import share.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::note::{Place, Report};

/// What all directives of an import share.
pub(super) struct Context<'a> {
    pub(super) report: Report,
    /// Where relative paths of certificates begin: the folder of the main file.
    pub(super) folder: &'a Path,
    /// The variables that the file makes, by their names there: how Moorline writes them.
    pub(super) made: BTreeMap<String, Made>,
    /// How many groups `$1`, `$2` … may mean in the present server.
    pub(super) groups: usize,
    /// The groups of the patterns that Moorline's file has: numbers and names. Others never match anything.
    pub(super) matched: BTreeSet<String>,
}

/// A variable that the file makes.
#[derive(Debug, Clone)]
pub(super) struct Made {
    /// As in `map.backend`.
    pub(super) written: String,
    pub(super) place: Place,
}

impl Context<'_> {
    /// A path as Moorline is to have it: it does not depend on where the TOML file will be.
    pub(super) fn path(&self, text: &str) -> String {
        let path: PathBuf = self.folder.join(text);
        path.to_string_lossy().into_owned()
    }
}
