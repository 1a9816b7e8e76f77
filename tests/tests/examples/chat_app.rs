//! The chat's own tests, as an app's author writes them: hooks in the test's process, then the whole program.

#[path = "../../../examples/chat/app.rs"]
mod app;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use app::{Chat, Settings};
use moorline::App;
use moorline::testing::{Engine, ScriptedEngine};

fn greeting(text: &str) -> Settings {
    Settings {
        greeting: Some(text.to_owned()),
    }
}

#[tokio::test]
async fn everyone_sees_every_line_and_a_new_greeting_after_a_reload() -> moorline::Result {
    let engine = ScriptedEngine::start(Chat::start, greeting("Hi")).await?;
    let (ann, bob) = (engine.connect().await, engine.connect().await);
    assert_eq!(ann.receive_text().await, "⚓ Hi");
    assert_eq!(bob.receive_text().await, "⚓ Hi");

    ann.send("  ann: ahoy ").await;
    for peer in [&ann, &bob] {
        assert_eq!(peer.receive_text().await, "ann: ahoy");
    }
    engine.reload(Chat::start, greeting("Hello")).await?;
    for peer in [&ann, &bob] {
        assert_eq!(peer.receive_text().await, "⚓ Hello");
    }
    engine.crash(Chat::start, greeting("Back")).await?;
    bob.send("bob: still here").await;
    for peer in [&ann, &bob] {
        assert_eq!(peer.receive_text().await, "⚓ Back");
        assert_eq!(peer.receive_text().await, "bob: still here");
    }
    engine.stop().await;
    Ok(())
}

const CONFIG: &str = r#"
[[listen]]
address = "tcp://127.0.0.1:0"
framing = { kind = "line", max = "64KiB" }

[app]
greeting = "Hi"
"#;

fn lines(stream: &mut TcpStream, expected: &str) -> std::io::Result<()> {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes)?;
    assert_eq!(String::from_utf8_lossy(&bytes), expected);
    Ok(())
}

#[test]
fn the_program_keeps_its_peers_through_a_reload_and_a_crash()
-> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::start(moorline_tests::built("chat"), CONFIG)?;
    let mut stream = TcpStream::connect(engine.address(0))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    lines(&mut stream, "⚓ Hi\n")?;

    engine.configure(&CONFIG.replace("Hi", "Hello"))?;
    engine.reload()?;
    lines(&mut stream, "⚓ Hello\n")?;
    let mut workers = engine.status().workers;
    // The old ones may not have ended yet.
    workers.retain(|worker| worker.is_ready);
    assert!(
        workers.iter().all(|worker| worker.generation == 2),
        "{workers:?}"
    );

    for worker in &workers {
        engine.crash_worker(worker.slot);
    }
    lines(&mut stream, "⚓ Hello\n")?;
    stream.write_all(b"ann: ahoy\n")?;
    lines(&mut stream, "ann: ahoy\n")?;
    assert_eq!(engine.status().sessions, 1);

    let refused = engine.configure("nonsense").map(|()| engine.reload());
    assert!(refused?.is_err());
    assert!(engine.stop()?.success());
    Ok(())
}
