//! `cargo xtask test`: everything that a change must pass, cheapest first.

use crate::steps::{self, Failure, Step, cargo};
use crate::{
    arrows, book, chaos, crates, entries, features, hooks, ignored, needs, pages, sizes, types,
    way, words,
};

const STEPS: &[Step] = &[
    Step {
        name: "needs",
        run: needs::install,
    },
    Step {
        name: "nothing ignored",
        run: ignored::none_is_ignored,
    },
    Step {
        name: "pages",
        run: pages::are_right,
    },
    Step {
        name: "book",
        run: book::is_complete,
    },
    Step {
        name: "examples of entry types",
        run: entries::have_examples,
    },
    Step {
        name: "imports",
        run: arrows::point_down,
    },
    Step {
        name: "dependencies between crates",
        run: crates::depend_as_drawn,
    },
    Step {
        name: "sizes",
        run: sizes::are_small,
    },
    Step {
        name: "type names",
        run: types::have_names_of_their_own,
    },
    Step {
        name: "hooks",
        run: hooks::have_their_sections,
    },
    Step {
        name: "the way of a message",
        run: way::is_told,
    },
    Step {
        name: "words",
        run: words::are_plain,
    },
    Step {
        name: "format",
        run: format,
    },
    Step {
        name: "clippy",
        run: clippy,
    },
    Step {
        name: "crates of moorline-net",
        run: features::few_crates,
    },
    Step {
        name: "features of moorline-net",
        run: features::each_alone,
    },
    Step {
        name: "docs",
        run: docs,
    },
    Step {
        name: "loom",
        run: loom,
    },
    Step {
        name: "build",
        run: build,
    },
    Step {
        name: "tests",
        run: tests,
    },
    Step {
        name: "doc tests",
        run: doc_tests,
    },
    Step {
        name: "chaos",
        run: chaos::every_change,
    },
];

/// Runs every step; stops at the first that fails.
pub(crate) fn run() -> Result<(), Failure> {
    steps::run(STEPS)
}

fn format() -> Result<(), Failure> {
    cargo("fmt --all --check").run()
}

fn clippy() -> Result<(), Failure> {
    cargo("clippy --workspace --all-targets --locked -- -D warnings").run()
}

fn docs() -> Result<(), Failure> {
    cargo("doc --workspace --no-deps --locked")
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()
}

/// The rings under every interleaving that the memory model allows. Release, since loom replays each test
/// thousands of times; a target folder of its own, since the flag would rebuild everything in the other.
fn loom() -> Result<(), Failure> {
    let run =
        "nextest run --package moorline-ipc --lib --release --locked --target-dir target/loom";
    cargo(&format!("{run} loom_tests"))
        .env("RUSTFLAGS", "--cfg loom")
        .run()
}

/// The programs that the process tests start: nextest alone builds those of its own package only.
fn build() -> Result<(), Failure> {
    cargo("build --workspace --bins --examples --locked").run()
}

fn tests() -> Result<(), Failure> {
    let mut nextest = cargo("nextest run --workspace --locked");
    if let Some(filter) = ignored::filter()? {
        nextest = nextest.arg("--filterset").arg(&filter);
    }
    nextest.run()
}

fn doc_tests() -> Result<(), Failure> {
    cargo("test --workspace --doc --locked").run()
}
