//! Groups keep their events, limits keep their counts, and messages in fragments go on.

use moorline_tests::{Client, Engine, Wire, frame};

use crate::{config, upgrade};

const EVENTS: &str = "[[listen]]\nname = \"web\"\naddress = \"http://127.0.0.1:0\"\nwebsocket = \"/ws\"\n\
                      [[listen.route]]\npath = \"/events\"\nkind = \"sse\"\n";

/// A client that comes back after the event of this id.
fn after(engine: &Engine, id: &str) -> Client {
    let mut client = Client::connect(engine, 1, Wire::Raw);
    let request = format!(
        "GET /events?open=after:room HTTP/1.1\r\nHost: a.example\r\nLast-Event-ID: {id}\r\n\r\n"
    );
    client
        .send_bytes(request.as_bytes())
        .expect("it takes bytes");
    let head = client.receive_head().expect("an answer comes");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    client
}

/// Receives until this was among it.
fn hear(client: &mut Client, wanted: &str) -> String {
    let mut heard = String::new();
    while !heard.ends_with(&format!("data: {wanted}\n\n\r\n")) {
        let bytes = client.receive_exactly(1);
        heard.push(char::from(bytes[0]));
    }
    heard
}

#[test]
fn groups_keep_their_last_events() {
    let engine = Engine::start("probe", &config("[engine]\ngateway_loops = 2\n", EVENTS));
    let mut app = Client::connect(&engine, 0, Wire::LENGTH);
    assert_eq!(app.ask("keep-events room 10"), "ok");
    let mut stays = after(&engine, "");
    for event in ["event room first a", "event room second b"] {
        assert_eq!(app.ask(event), "ok");
    }
    hear(&mut stays, "b");
    for _ in 0..2 {
        upgrade(&engine);
    }
    // The one that stays has had them.
    assert_eq!(app.ask("event room third c"), "ok");
    let heard = hear(&mut stays, "c");
    assert!(!heard.contains("data: b"), "{heard}");
    let mut returns = after(&engine, "first");
    let heard = hear(&mut returns, "c");
    assert!(
        heard.contains("data: b") && !heard.contains("data: a"),
        "{heard}"
    );
    assert!(!heard.contains("gap"), "{heard}");
    // It is a repetition.
    assert_eq!(app.ask("event room second again"), "ok");
    assert_eq!(app.ask("event room fourth d"), "ok");
    let heard = hear(&mut stays, "d");
    assert!(!heard.contains("again"), "{heard}");
    assert!(hear(&mut after(&engine, "unknown"), "d").contains("gap"));
}

#[test]
fn limits_by_key_keep_their_counts() {
    let more =
        "limits = [{ limit = \"one\", most = 2 }]\n[limit.one]\nkey = \"${client.address}\"\n";
    let engine = Engine::start("probe", &config("", more));
    let mut kept: Vec<_> = (0..2)
        .map(|_| Client::connect(&engine, 0, Wire::LENGTH))
        .collect();
    let ids: Vec<_> = kept.iter_mut().map(|it| it.ask("id")).collect();
    for _ in 0..2 {
        upgrade(&engine);
        let mut over = Client::connect(&engine, 0, Wire::LENGTH);
        assert_eq!(over.receive_bytes_to_end(), b"");
    }
    assert_eq!(kept[1].ask("id"), ids[1]);
    drop(kept.remove(0));
    moorline_tests::eventually("there is room again", || {
        let mut next = Client::connect(&engine, 0, Wire::LENGTH);
        let sent = next.send_bytes(&Wire::LENGTH.encode(b"id"));
        sent.is_ok() && next.try_receive().is_ok_and(|it| it.is_some())
    });
}

#[test]
fn messages_in_fragments_go_on() {
    let more = format!("{EVENTS}compression = {{ min_message = \"1B\" }}\n");
    let more = more.replace("[[listen.route]]\npath = \"/events\"\nkind = \"sse\"\n", "");
    let engine = Engine::start("probe", &config("", &more));
    let connected = Client::connect_websocket(&engine, 1, "/ws", "");
    let (mut client, _) = connected.expect("it is a WebSocket");
    let id = client.ask("id");
    // A character is cut, too.
    let text = "echo grüße".as_bytes();
    let fragments = [&text[..3], &text[3..8], &text[8..]];
    for round in 0..2 {
        for (at, fragment) in fragments.into_iter().enumerate() {
            let opcode = [0x01, 0x00, 0x80][at];
            let sent = client.send_bytes(&frame(opcode, fragment));
            sent.expect("it takes bytes");
            // The gateway has read it once it answers.
            if at < 2 {
                client
                    .send_bytes(&frame(0x89, b"?"))
                    .expect("it takes bytes");
                assert_eq!(client.receive_frame().0, 10);
                upgrade(&engine);
            }
        }
        let answer = String::from_utf8(client.receive());
        assert!(answer.expect("it is text").contains("grüße"), "{round}");
    }
    assert_eq!(client.ask("id"), id);
}
