//! The chat in Lua, on the page of the chat in Rust.

use std::fs;
use std::path::{Path, PathBuf};

use moorline_tests::{Browser, Engine, Site};

use super::chat::{say, sees};

const GREETING: &str = "Welcome aboard!";

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples")
        .join(path)
}

fn start() -> Engine {
    let own = fs::read_to_string(example("chat-lua/moorline.toml")).expect("it is there");
    let config = own
        .replace(":9500", ":0")
        .replace(":9501", ":0")
        .replace("../chat/public", "public");
    let site = Site::new("moorline", &config);
    site.copy(&example("chat/public"), "public");
    let script = fs::read(example("chat-lua/main.lua")).expect("it is there");
    site.write("main.lua", script);
    site.start()
}

#[test]
fn two_tabs_stay_connected_while_the_script_is_edited() {
    let engine = start();
    let mut browser = Browser::start();
    let page = format!("http://{}/", engine.socket_address(0));
    let tabs = ["ada", "grace"].map(|name| {
        let tab = browser.open(&page);
        sees(&mut browser, &tab, GREETING);
        browser.type_into(&tab, "#name", name);
        tab
    });
    let [ada, grace] = &tabs;
    say(&mut browser, ada, "before the edit");
    sees(&mut browser, grace, "ada before the edit");

    let script = fs::read_to_string(example("chat-lua/main.lua")).expect("it is there");
    engine
        .site()
        .write("main.lua", script.replace(GREETING, "Ahoy, shipmates!"));
    engine.reload().expect_success();
    for tab in &tabs {
        sees(&mut browser, tab, "Ahoy, shipmates!");
    }
    say(&mut browser, grace, "after the edit");
    sees(&mut browser, ada, "grace after the edit");
    for tab in &tabs {
        let story = browser.text(tab, "#story");
        let end = "s · code replaced, nobody disconnected";
        assert!(story.ends_with(end), "{story}");
    }
}
