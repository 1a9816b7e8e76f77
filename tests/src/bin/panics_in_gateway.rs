//! An app whose gateway prints the addresses of two functions: one panics, one never ends.

use moorline_tests::probe::Probe;

extern "C-unwind" fn fault() -> ! {
    panic!("the fault that the test wants")
}

extern "C-unwind" fn hang() -> ! {
    loop {
        std::thread::sleep(std::time::Duration::from_secs(3600));
    }
}

fn main() -> std::process::ExitCode {
    let title = std::env::args().next().unwrap_or_default();
    if title.starts_with("moorline: gateway") {
        for (name, place) in [("fault", fault as *const ()), ("hang", hang as *const ())] {
            if let Err(error) = std::fs::write(name, (place as usize).to_string()) {
                eprintln!("the working folder cannot be written: {error}");
            }
        }
    }
    moorline::run(async |context, settings| Probe::new("first", context, settings).await)
}
