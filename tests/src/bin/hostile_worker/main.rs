//! The probe, with one hostile worker: a worker that starts in slot 1 while there is a file `hostile` in the engine's folder
//! removes that file and runs no app, but speaks the engine's own protocols. It echoes until it gets an order, or does at
//! once what the file says.

mod answers;
mod child;
mod lies;
mod misuse;
mod passing;
mod raw_ring;
mod rooms;
mod worker;

use std::process::ExitCode;

use moorline_tests::probe::Probe;

/// The title of the role that it takes.
const ROLE: &str = "moorline: worker 1 ";

fn main() -> ExitCode {
    if let Some(inherited) = child::inherited() {
        return child::run(&inherited);
    }
    let title = std::env::args().next().unwrap_or_default();
    if title.starts_with(ROLE)
        && let Ok(plan) = std::fs::read_to_string("hostile")
        && std::fs::remove_file("hostile").is_ok()
    {
        return match worker::run(&plan) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("the hostile worker ends: {error}");
                ExitCode::FAILURE
            }
        };
    }
    moorline::run(async |context, settings| Probe::new("first", context, settings).await)
}
