//! How the page of `[admin]` looks: nothing is cut off, nothing is hard to read. The pictures are in the folder `pictures` of the target
//! folder, or where `MOORLINE_PICTURES` says.

use moorline_tests::{Browser, Client, Engine, Site, Tab, Wire, eventually};
use nix::sys::signal::Signal;

use super::watching::address;

const CONFIG: &str = r#"
[[listen]]
name = "chat"
address = "tcp://127.0.0.1:0"
framing = { kind = "length", width = 4, endian = "big", offset = 0, counts = "payload", max = "2MiB" }
[[listen]]
name = "door"
address = "http://127.0.0.1:0"
websocket = "/"
[workers]
count = 3
[admin]
listen = "127.0.0.1:0"
token_file = "admin.token"
"#;
const DESK: [u32; 2] = [1100, 760];
const PHONE: [u32; 2] = [360, 740];

/// Has the page show made-up answers: an engine with very many sessions.
const MANY: &str = r#"
(() => {
  const real = fetch.bind(window);
  const answer = (value) => ({ ok: true, json: async () => value });
  let messages = 8123456, at = Date.now();
  for (const name in series) series[name] = Array.from({ length: 90 }, (_, at) => /message|wait|memory/.test(name) ? 3 + Math.sin(at / 7) + Math.sin(at / 2.3 + name.length) : 0);
  series["sessions"] = Array.from({ length: 90 }, (_, at) => 9000 + at * 11);
  series["messages a second"] = series["messages a second"].map((it) => it * 8000);
  series["99 % wait at most"] = series["99 % wait at most"].map((it) => it > 4 ? 256 : 128);
  series["held memory"] = series["held memory"].map((it) => it * 2e8);
  last = null;
  window.fetch = async (path, ...rest) => {
    if (path === "/status.json") {
      const s = await (await real(path, ...rest)).json();
      messages += (Date.now() - at) * 31.4; at = Date.now();
      Object.assign(s.gateway, { sessions: 10000, accepted: 1234567, messages: Math.round(messages), buffered_bytes: 734003200, memory_limit: 2147483648, throttled: 0 });
      Object.assign(s.gateway.held, { received: 52428800, queued: 419430400, tls: 209715200, state: 10485760 });
      s.supervisor.uptime_s = 1234567;
      s.workers.forEach((it, at) => { it.sessions = 3333 + at % 2; it.handled = 27000000 + at * 1234; it.in_progress = 12 + at; });
      return answer(s);
    }
    if (path.startsWith("/sessions.json")) {
      const rows = Array.from({ length: 100 }, (_, at) => ({ id: "01abcdef" + (4711 + at).toString(16).padStart(8, "0"), listener: at % 3 ? "chat" : "door",
        peer: `[2001:db8:85a3::8a2e:370:${7334 + at}]:${50000 + at}`, label: at % 4 ? "" : "Zo\u00eb of the night watch " + at, worker: at % 3, age_s: 987654 - at * 4321, idle_s: at * 7,
        messages: 123456 - at * 321, received: 98765432 - at * 54321, sent: 987654321 - at * 65432, queued: at % 5 ? 0 : 1048576, relay: null }));
      return answer({ found: 10000, complete: true, rows });
    }
    return real(path, ...rest);
  };
})()
"#;

fn engine() -> Engine {
    let site = Site::new("probe", CONFIG);
    site.write("admin.token", "0123456789abcdef");
    site.start()
}

/// Takes a picture, and checks that all can be seen and read.
#[track_caller]
fn take(browser: &mut Browser, tab: &Tab, name: &str) {
    browser.picture(tab, env!("CARGO_TARGET_TMPDIR"), name);
}

fn text(browser: &mut Browser, tab: &Tab, selector: &str) -> String {
    browser.text(tab, selector)
}

#[test]
fn the_page_can_be_seen_and_read_in_all_its_states() {
    let engine = engine();
    let mut browser = Browser::start();
    let tab = browser.open(&format!("http://{}/", address(&engine)));
    eventually("it is healthy", || {
        text(&mut browser, &tab, "#state") == "healthy"
    });
    for (name, size, scheme) in [
        ("empty", DESK, "light"),
        ("empty-phone", PHONE, "light"),
        ("empty-dark", DESK, "dark"),
    ] {
        browser.look_like(&tab, size, scheme, "none");
        take(&mut browser, &tab, name);
    }
    let mut clients: Vec<_> = (0..40)
        .map(|_| Client::connect(&engine, 0, Wire::LENGTH))
        .collect();
    clients
        .iter_mut()
        .for_each(|client| drop(client.ask("pid")));
    browser.evaluate(&tab, MANY);
    browser.type_into(&tab, "#token", "0123456789abcdef");
    browser.click(&tab, "#unlock button");
    browser.click(&tab, "#search button");
    eventually("very many sessions are shown", || {
        text(&mut browser, &tab, "#cards").contains("10,000")
            && text(&mut browser, &tab, "#found").contains("100 of 10,000")
    });
    eventually("there is a rate", || {
        browser.evaluate(&tab, "series['messages a second'].at(-1) > 1000") == true
    });
    for (name, size, scheme, sight) in [
        ("many", DESK, "light", "none"),
        ("many-dark", DESK, "dark", "none"),
        ("many-phone", PHONE, "light", "none"),
        ("many-phone-dark", PHONE, "dark", "none"),
        ("many-deuteranopia", DESK, "light", "deuteranopia"),
        ("many-achromatopsia", DESK, "dark", "achromatopsia"),
    ] {
        browser.look_like(&tab, size, scheme, sight);
        browser.evaluate(&tab, "scrollTo(0, 0)");
        take(&mut browser, &tab, name);
        browser.evaluate(&tab, "document.querySelector('#acts').scrollIntoView()");
        take(&mut browser, &tab, &format!("{name}-sessions"));
    }
    engine.kill_worker(0, Signal::SIGKILL);
    eventually("the page tells it", || {
        !text(&mut browser, &tab, "#wrong").is_empty()
    });
    for (name, size, scheme, sight) in [
        ("wrong", DESK, "light", "none"),
        ("wrong-dark", DESK, "dark", "none"),
        ("wrong-phone", PHONE, "dark", "none"),
        ("wrong-deuteranopia", DESK, "light", "deuteranopia"),
    ] {
        browser.look_like(&tab, size, scheme, sight);
        browser.evaluate(&tab, "scrollTo(0, 0)");
        take(&mut browser, &tab, name);
    }
}
