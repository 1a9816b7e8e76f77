//! Takes the headers of the Lua that is built in, for `--sdk`.

use std::path::Path;
use std::{env, fs};

const HEADERS: &[&str] = &["lauxlib.h", "lua.h", "luaconf.h", "lualib.h"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    // The build script of mlua-sys says where they are.
    let (from, to) = (variable("DEP_LUA_INCLUDE"), variable("OUT_DIR"));
    for name in HEADERS {
        let header = Path::new(&from).join(name);
        fs::copy(&header, Path::new(&to).join(name))
            .unwrap_or_else(|error| panic!("cannot copy {}: {error}", header.display()));
    }
}
