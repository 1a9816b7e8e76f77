//! A broken build: it ends before it has said anything.

fn main() {
    std::process::exit(3);
}
