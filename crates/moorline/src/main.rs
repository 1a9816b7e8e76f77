//! The `moorline` command: the engine without an app in Rust. It checks configurations, asks running engines
//! for things, measures servers, and serves what needs no app, or services in Lua.

use std::process::ExitCode;

use moorline::App as _;
use moorline_lua_app::LuaApp;

fn main() -> ExitCode {
    moorline::builder(LuaApp::start).only_lua().run()
}
