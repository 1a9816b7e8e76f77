//! The client of `clients/js`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use moorline_tests::Finish;

use crate::scripts;

/// As its page promises.
const MOST_BYTES: usize = 2048;

fn client(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../clients/js")
        .join(name)
}

#[test]
fn what_is_shipped_is_small_and_made_from_the_source() {
    let minified = Command::new(scripts().join("node_modules/.bin/terser"))
        .args(["--module", "--compress", "--mangle", "--"])
        .arg(client("moorline.js"))
        .finish()
        .expect_success()
        .stdout;
    let shipped = fs::read_to_string(client("moorline.min.js")).expect("it is there");
    assert!(
        shipped.trim_end() == minified.trim_end(),
        "write it again: tests/clients/node_modules/.bin/terser --module --compress --mangle \
         --output clients/js/moorline.min.js -- clients/js/moorline.js"
    );
    assert!(shipped.len() <= MOST_BYTES, "{} bytes", shipped.len());
}

#[test]
fn it_keeps_its_promises_against_a_scripted_server() {
    for file in ["moorline.js", "moorline.min.js"] {
        Command::new("node")
            .arg("--test")
            .arg(client("moorline.test.mjs"))
            .env("MOORLINE_JS", client(file))
            .finish()
            .expect_success();
    }
}
