//! A build on a machine where its gateway may have few open files.

use moorline_tests::probe::Probe;
use nix::sys::resource::{Resource, setrlimit};

/// Enough to begin, and too few for a hundred sessions.
const FEW: u64 = 90;

fn main() -> std::process::ExitCode {
    let title = std::env::args().next().unwrap_or_default();
    if title.starts_with("moorline: gateway") {
        setrlimit(Resource::RLIMIT_NOFILE, FEW, FEW).expect("less is always allowed");
    }
    moorline::run(async |context, settings| Probe::new("first", context, settings).await)
}
