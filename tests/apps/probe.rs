//! The probe: an app that does what messages tell it to.

#[path = "probe/app.rs"]
mod app;

fn main() -> std::process::ExitCode {
    moorline::run(|| app::Probe::new("first"))
}
