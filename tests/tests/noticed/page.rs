//! The page as a browser shows it.

use moorline_tests::{Browser, Engine, LENGTH_LISTENER, Onlooker, eventually};

#[test]
fn the_page_says_what_is_wrong_and_what_to_do() {
    let admin = Onlooker::ADMIN;
    let engine = Engine::start("probe", &format!("{LENGTH_LISTENER}{admin}"));
    let mut browser = Browser::start();
    let tab = browser.open(&format!("http://{}/", Onlooker::admin(&engine)));
    eventually("it is healthy", || {
        browser.text(&tab, "#state").trim() == "healthy"
    });
    engine.site().configure("[engine]\nnonsense = 1\n");
    engine.reload();
    eventually("it is shown", || {
        let shown = browser.text(&tab, "#wrong");
        shown.contains("The last reload failed") && shown.contains("Mend that, and reload again.")
    });
}
