//! The page of the reference about metrics.

use std::{env, fs};

const PAGE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../docs/reference/metrics.md"
);

#[test]
fn the_page_of_metrics_is_current() {
    let page = moorline_admin::page();
    if env::var_os("MOORLINE_WRITE_PAGES").is_some() {
        fs::write(PAGE, &page).expect("the page can be written");
    }
    let kept = fs::read_to_string(PAGE).unwrap_or_default();
    assert!(
        kept == page,
        "docs/reference/metrics.md is not current: write it with `cargo xtask docs`"
    );
}
