//! The probe: an app that does what messages tell it to.

use moorline_tests::probe::Probe;

fn main() -> std::process::ExitCode {
    moorline::run(async |context, settings| Probe::new("first", context, settings).await)
}
