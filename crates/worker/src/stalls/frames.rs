//! The part of a stack that is reported: the app's own frames, and the last few that these have called.
//!
//! The rest does not help to find the reason, and would not fit on a screen.

use std::borrow::Cow;
use std::fmt;

/// The most lines of all stacks in one report, and the longest line. A screen has no more.
const LINES: usize = 12;
const LINE_BYTES: usize = 200;
/// The most frames of others inside of the app's innermost one: the function that it has called, and where that is now.
const CALLED: usize = 3;

/// The engine's own files. Frames inside of the first show how a stack was taken; those outside of the others show how
/// the app's code is called. Files and not functions, because an inlined function has no path in its name.
const TAKING: &[(&str, &str)] = &[
    ("ipc", "/src/sys/stack.rs"),
    (
        "worker",
        concat!(env!("CARGO_MANIFEST_DIR"), "/src/panics.rs"),
    ),
];
const CALLING: &[(&str, &str)] = &[
    // An app may have a crate of its own that is called `worker`.
    (
        "worker",
        concat!(env!("CARGO_MANIFEST_DIR"), "/src/hook.rs"),
    ),
    (
        "worker",
        concat!(env!("CARGO_MANIFEST_DIR"), "/src/handlers.rs"),
    ),
    ("tokio", "/src/runtime/task/core.rs"),
    ("tokio", "/src/runtime/blocking/pool.rs"),
];
/// The same by function, where the dependency is built without debug information.
const CALLING_FUNCTIONS: [&str; 2] = [
    "tokio::runtime::task::core::",
    "tokio::runtime::blocking::pool::",
];
/// Frames without information for a reader.
const GLUE: &[(&str, &str)] = &[
    ("core", "/src/ops/function.rs"),
    ("std", "/src/panic.rs"),
    ("core", "/src/panic/unwind_safe.rs"),
];
/// The function with which a thread of the standard library calls its work.
const THREAD_MAIN: &str = "__rust_begin_short_backtrace";
/// The function that calls the hook that reports a panic.
const PANICKING: [&str; 5] = [
    "core::panicking::",
    "std::panicking::panic",
    "std::panicking::begin_panic",
    "rust_begin_unwind",
    "__rust_end_short_backtrace",
];
/// Files of the standard library, and of what the app depends on.
const OTHERS: [&str; 6] = [
    "/rustc/",
    "/library/std/",
    "/library/core/",
    "/registry/src/",
    "/git/checkouts/",
    "/vendor/",
];
/// Where the engine's own crates lie.
const CRATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../");
const OWN_CRATES: [&str; 10] = [
    "config/src/",
    "engine/src/",
    "gateway/src/",
    "ipc/src/",
    "moorline/src/",
    "net/src/",
    "process/src/",
    "protocol/src/",
    "supervisor/src/",
    "worker/src/",
];

/// One function on a stack.
pub(super) struct Frame {
    pub(super) function: String,
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
}

impl Frame {
    pub(super) fn nameless(function: String) -> Self {
        Self {
            function,
            file: None,
            line: None,
        }
    }

    fn is_in(&self, files: &[(&str, &str)]) -> bool {
        let is_in = |file: &str| {
            let mut files = files.iter();
            files.any(|(part, end)| file.ends_with(end) && file.contains(part))
        };
        self.file.as_deref().is_some_and(is_in)
    }

    /// Whether it belongs to the app's own code.
    fn is_own(&self) -> bool {
        let is_own = |file: &str| {
            let is_others = OTHERS.iter().any(|part| file.contains(part));
            let crates = resolved(CRATES);
            let of_ours = file.strip_prefix(&*crates);
            let is_ours = of_ours.is_some_and(|rest| {
                let mut places = OWN_CRATES.iter();
                places.any(|place| rest.starts_with(place))
            });
            !is_others && !is_ours
        };
        self.line.is_some()
            && self
                .file
                .as_deref()
                .map(resolved)
                .is_some_and(|it| is_own(&it))
    }

    /// Whether it belongs to the code that calls the app's.
    fn is_calling(&self) -> bool {
        let mut functions = CALLING_FUNCTIONS.iter().chain([&THREAD_MAIN]);
        self.is_in(CALLING) || functions.any(|part| self.function.contains(part))
    }

    fn is_panicking(&self) -> bool {
        PANICKING.iter().any(|part| self.function.contains(part))
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut function = &*self.function;
        // The body of an `async fn` is a closure in it, to the compiler.
        while let Some(outer) = function.strip_suffix("::{{closure}}") {
            function = outer;
        }
        let function = without_trait(function);
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{function} ({}:{line})", place(file)),
            _ => f.write_str(&function),
        }
    }
}

/// The reported part of a stack, or of several.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Stack {
    /// The innermost frame of the app's own.
    pub(crate) place: Option<String>,
    /// The innermost first.
    pub(crate) lines: Vec<String>,
}

impl Stack {
    pub(super) fn of(frames: impl Iterator<Item = Frame>) -> Self {
        let mut kept: Vec<Frame> = Vec::new();
        let mut own = None;
        for frame in frames {
            if frame.is_in(TAKING) {
                kept.clear();
                continue;
            }
            if frame.is_in(GLUE) {
                continue;
            }
            if frame.is_calling() {
                break;
            }
            if own.is_none() && frame.is_panicking() {
                kept.clear();
                continue;
            }
            if frame.is_own() {
                own.get_or_insert(kept.len());
                kept.push(frame);
            } else if own.is_none() {
                kept.push(frame);
            }
        }
        let place = own.map(|own| shortened(kept[own].to_string()));
        let mut lines: Vec<_> = kept.iter().map(|it| shortened(it.to_string())).collect();
        // Of the frames inside of the app's, the innermost says what it does, and the outermost what the app has
        // called.
        if let Some(own) = own.filter(|own| *own > CALLED) {
            lines.drain(1..own + 1 - CALLED);
        }
        lines.dedup();
        Self { place, lines }
    }

    /// One report of several stacks, each after the other.
    pub(super) fn joined(stacks: impl Iterator<Item = Self>) -> Self {
        let mut joined = Self::default();
        for stack in stacks {
            joined.place = joined.place.or(stack.place);
            joined.lines.extend(stack.lines);
        }
        let more = joined.lines.len().saturating_sub(LINES);
        if more > 0 {
            joined.lines.truncate(LINES - 1);
            joined.lines.push(format!("{} more", more + 1));
        }
        joined
    }
}

/// `app::Chat::start` for `<app::Chat as moorline::App>::start`.
fn without_trait(function: &str) -> Cow<'_, str> {
    let parts = function
        .strip_prefix('<')
        .and_then(|rest| rest.split_once(" as "))
        .filter(|(own, _)| !own.contains(['<', ' ', '&']))
        .and_then(|(own, rest)| Some((own, rest.rsplit_once(">::")?.1)));
    match parts {
        Some((own, method)) => format!("{own}::{method}").into(),
        None => function.into(),
    }
}

/// A file as its reader knows it: files of dependencies without the path to where they were built.
fn place(file: &str) -> String {
    let file = resolved(file);
    let library = file
        .find("/library/")
        .filter(|_| file.starts_with("/rustc/"));
    if let Some(at) = library {
        return file[at + 1..].to_owned();
    }
    let dependency = file.split_once("/registry/src/");
    match dependency.and_then(|(_, rest)| rest.split_once('/')) {
        Some((_, dependency)) => dependency.to_owned(),
        None => file,
    }
}

/// A path without its `..` parts.
fn resolved(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match parts.last() {
            Some(last) if part == ".." && !["", ".."].contains(last) => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

fn shortened(mut line: String) -> String {
    if line.len() > LINE_BYTES {
        let end = (0..=LINE_BYTES).rev().find(|&at| line.is_char_boundary(at));
        line.truncate(end.unwrap_or(0));
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame((function, file): &(&str, &str)) -> Frame {
        Frame {
            function: (*function).to_owned(),
            file: Some((*file).to_owned()).filter(|file| !file.is_empty()),
            line: Some(7),
        }
    }

    fn stack(frames: &[(&str, &str)]) -> Stack {
        Stack::joined([Stack::of(frames.iter().map(frame))].into_iter())
    }

    const OURS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/hook.rs");
    const TOKIO: &str = "/root/.cargo/registry/src/index/tokio-1/src/runtime/task/core.rs";

    #[test]
    fn a_report_shows_the_apps_own_frames_and_a_few_that_they_called() {
        let told = stack(&[
            ("clock_nanosleep", ""),
            ("std::sys::sleep_more", "/rustc/1/library/std/src/sys.rs"),
            ("std::sys::sleep", "/rustc/1/library/std/src/sys.rs"),
            ("std::thread::sleep", "/rustc/1/library/std/src/thread.rs"),
            (
                "app::pause::{{closure}}",
                "/home/me/app/crates/../src/main.rs",
            ),
            ("core::ops::call", "/rustc/1/library/core/src/ops.rs"),
            (
                "<app::Chat as moorline::App<a>>::obey::{{closure}}",
                "/home/me/app/src/main.rs",
            ),
            ("moorline_worker::hook::begin", OURS),
            ("main", "/home/me/app/src/main.rs"),
        ]);
        let place = "app::pause (/home/me/app/src/main.rs:7)".to_owned();
        let expected = Stack {
            place: Some(place.clone()),
            lines: vec![
                "clock_nanosleep".into(),
                "std::sys::sleep (library/std/src/sys.rs:7)".into(),
                "std::thread::sleep (library/std/src/thread.rs:7)".into(),
                place,
                "app::Chat::obey (/home/me/app/src/main.rs:7)".into(),
            ],
        };
        assert_eq!(told, expected);
    }

    #[test]
    fn a_panic_begins_where_the_app_has_brought_it_about() {
        let told = stack(&[
            (
                "moorline_worker::panics::report",
                concat!(env!("CARGO_MANIFEST_DIR"), "/src/panics.rs"),
            ),
            (
                "std::panicking::panic_with_hook",
                "/rustc/1/library/std/src/panicking.rs",
            ),
            (
                "core::panicking::panic_fmt",
                "/rustc/1/library/core/src/panicking.rs",
            ),
            (
                "core::option::unwrap_failed",
                "/rustc/1/library/core/src/option.rs",
            ),
            ("app::find", "/home/me/app/src/main.rs"),
            ("tokio::runtime::task::core::poll", TOKIO),
            ("main", "/home/me/app/src/main.rs"),
        ]);
        assert_eq!(
            told.lines,
            [
                "core::option::unwrap_failed (library/core/src/option.rs:7)",
                "app::find (/home/me/app/src/main.rs:7)"
            ]
        );
    }

    #[test]
    fn a_runtime_without_debug_information_is_no_part_of_the_apps_stack() {
        let told = stack(&[
            ("app::find", "/home/me/app/src/main.rs"),
            ("tokio::runtime::task::core::Core<T,S>::poll", ""),
            ("main", "/home/me/app/src/main.rs"),
        ]);
        assert_eq!(told.lines, ["app::find (/home/me/app/src/main.rs:7)"]);
    }

    #[test]
    fn a_stack_without_end_fits_on_a_screen() {
        let told = stack(
            &[
                ("app::again", "/a/src/main.rs"),
                ("app::once", "/a/src/main.rs"),
            ]
            .repeat(99),
        );
        assert_eq!(told.lines.len(), LINES);
        assert_eq!(told.lines[LINES - 1], "187 more");
    }

    #[test]
    fn an_app_whose_own_crate_is_called_engine_is_an_app() {
        let told = stack(&[("game::tick", "/home/me/game/crates/engine/src/tick.rs")]);
        assert!(told.place.is_some(), "{told:?}");
    }
}
