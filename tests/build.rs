//! Compresses what names files and lines, as in the examples, so that the tests of stalls and panics read it like that.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=-Wl,--compress-debug-sections=zlib");
}
