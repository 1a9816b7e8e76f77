//! The probe's next build, for tests that deploy one.

use moorline_tests::probe::Probe;

fn main() -> std::process::ExitCode {
    moorline::run(async |context, settings| Probe::new("next", context, settings).await)
}
