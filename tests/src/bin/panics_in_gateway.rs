//! An app whose gateway tells where in its memory there is a function that panics.

use moorline_tests::probe::Probe;

extern "C-unwind" fn fault() -> ! {
    panic!("the fault that the test wants")
}

fn main() -> std::process::ExitCode {
    let title = std::env::args().next().unwrap_or_default();
    if title.starts_with("moorline: gateway") {
        let place = fault as *const () as usize;
        if let Err(error) = std::fs::write("fault", place.to_string()) {
            eprintln!("the working folder cannot be written: {error}");
        }
    }
    moorline::run(async |context, settings| Probe::new("first", context, settings).await)
}
