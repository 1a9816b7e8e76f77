//! One room for all: browser tabs over WebSocket, terminals over length-framed TCP.
//!
//! ```text
//! cargo run --release --example chat
//! ```
//!
//! Each message is a line of text, and everyone sees every line. Change `GREETING` in `app.rs`, build again
//! and run `reload`: nobody is disconnected, and the new greeting is live.

mod app;

use std::path::Path;
use std::process::ExitCode;

use moorline::App;

use app::Chat;

fn main() -> ExitCode {
    moorline::builder(Chat::start)
        .default_config(default_config())
        .run()
}

/// The example's own configuration, from any folder of the repository.
fn default_config() -> &'static str {
    const FROM_THE_ROOT: &str = "examples/chat/moorline.toml";
    if Path::new(FROM_THE_ROOT).exists() {
        return FROM_THE_ROOT;
    }
    concat!(env!("CARGO_MANIFEST_DIR"), "/chat/moorline.toml")
}
