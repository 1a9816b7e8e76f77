//! Writes `docs/reference/configuration.md`: `cargo xtask docs` runs it.

use std::io::Result;

const PAGE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../docs/reference/configuration.md"
);

fn main() -> Result<()> {
    std::fs::write(PAGE, moorline_config::reference::page())
}
