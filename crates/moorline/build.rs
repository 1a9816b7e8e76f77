//! Lets modules in C that scripts load find the functions of Lua in the program, and compresses what names files and lines.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // These names and no others: the linker keeps what it exports.
    println!("cargo::rustc-link-arg-bin=moorline=-Wl,--export-dynamic-symbol=lua_*");
    println!("cargo::rustc-link-arg-bin=moorline=-Wl,--export-dynamic-symbol=luaL_*");
    println!("cargo::rustc-link-arg-bin=moorline=-Wl,--export-dynamic-symbol=luaopen_*");
    println!("cargo::rustc-link-arg-bin=moorline=-Wl,--compress-debug-sections=zlib");
}
