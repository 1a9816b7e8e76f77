//! What editors and C compilers need: definitions of the modules, and the headers of Lua.

use std::fs;
use std::io;
use std::path::Path;

/// The headers of the Lua that is built in.
const HEADERS: &[(&str, &str)] = &[
    (
        "lauxlib.h",
        include_str!(concat!(env!("OUT_DIR"), "/lauxlib.h")),
    ),
    ("lua.h", include_str!(concat!(env!("OUT_DIR"), "/lua.h"))),
    (
        "luaconf.h",
        include_str!(concat!(env!("OUT_DIR"), "/luaconf.h")),
    ),
    (
        "lualib.h",
        include_str!(concat!(env!("OUT_DIR"), "/lualib.h")),
    ),
];

/// Writes the headers of Lua to `include` in a folder, and definitions for the Lua language server to `library`. Makes the folders.
///
/// # Errors
/// A folder or a file cannot be written: the error names it.
pub fn write_sdk(folder: &Path) -> io::Result<()> {
    for (name, text) in HEADERS {
        write(&folder.join("include").join(name), text)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let written = fs::create_dir_all(parent).and_then(|()| fs::write(path, text));
    written.map_err(|error| {
        let why = format!("cannot write {}: {error}", path.display());
        io::Error::new(error.kind(), why)
    })
}
