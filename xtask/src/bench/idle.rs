//! Memory of sessions that do nothing.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::report::{Aim, Row};
use super::server::{Listener, Placement, Server};
use super::{Result, number};

/// Sessions whose memory is measured.
const SESSIONS: u32 = 5000;

/// Of the gateway, which alone has TCP and TLS state.
const AIM_SESSION: Aim = Aim::AtMost(600.0);
const AIM_TLS_SESSION: Aim = Aim::AtMost(4.5 * 1024.0);
/// Of all the engine's processes together.
const AIM_ALL: Aim = Aim::AtMost(1.2 * 1024.0);

/// Private bytes of an idle session: of the gateway for each kind of session, and of all processes together.
pub(super) fn measure(release: &Path) -> Result<Vec<Row>> {
    let engine = |listener| Server::engine(release, listener, Placement::Together);
    let plain = bytes(release, &Server::plain(release)?, Of::All)?;
    let axum = bytes(release, &Server::axum(release)?, Of::All)?;
    let raw = bytes(release, &engine(Listener::Tcp)?, Of::Gateway)?;
    let websocket = bytes(release, &engine(Listener::WebSocket)?, Of::Gateway)?;
    let all = bytes(release, &engine(Listener::Tcp)?, Of::All)?;
    let (tls, plain_tls) = tls(release)?;
    let row = |what: &str, engine, other, aim| Row {
        what: format!("an idle session, {what}"),
        unit: "private bytes".into(),
        engine: vec![engine],
        other: vec![other],
        aim: Some(aim),
    };
    Ok(vec![
        row("TCP, gateway", raw, plain, AIM_SESSION),
        row("WebSocket, gateway, to axum", websocket, axum, AIM_SESSION),
        row("TLS, gateway", tls, plain_tls, AIM_TLS_SESSION),
        row("TCP, all processes", all, plain, AIM_ALL),
    ])
}

/// Whose memory is looked at.
#[derive(Debug, Clone, Copy)]
enum Of {
    Gateway,
    All,
}

fn bytes(release: &Path, server: &Server, of: Of) -> Result<f64> {
    eprintln!("{SESSIONS} idle sessions");
    let pid = match of {
        Of::Gateway => server.gateway_pid(release)?,
        Of::All => server.pid(),
    };
    let sessions = SESSIONS.to_string();
    let arguments = [["--connections", &sessions], ["--duration", "1s"]];
    let result = server.bench(release, "idle", pid, &arguments)?;
    number(&result, "/server_bytes_per_session")
}

/// The same with TLS, which `moorline bench` does not speak: the gateway's and the plain server's.
fn tls(release: &Path) -> Result<(f64, f64)> {
    eprintln!("{SESSIONS} idle sessions with TLS");
    let output = Command::new(release.join("tls_echo"))
        .arg("idle")
        .arg(release.join("examples/echo"))
        .arg(SESSIONS.to_string())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("idle sessions with TLS could not be measured".into());
    }
    let result: Value = serde_json::from_slice(&output.stdout)?;
    Ok((
        number(&result, "/gateway_bytes_per_session")?,
        number(&result, "/plain_bytes_per_session")?,
    ))
}
