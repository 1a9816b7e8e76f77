//! The probe's next build, for tests that deploy one.

#[path = "probe/app.rs"]
mod app;

fn main() -> std::process::ExitCode {
    moorline::run(|| app::Probe::new("next"))
}
