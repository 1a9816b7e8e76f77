//! A broken build: its gateway never says anything.

use moorline_tests::probe::Probe;

fn main() -> std::process::ExitCode {
    let title = std::env::args().next().unwrap_or_default();
    if title.starts_with("moorline: gateway") {
        loop {
            std::thread::park();
        }
    }
    moorline::run(async |context, settings| Probe::new("first", context, settings).await)
}
