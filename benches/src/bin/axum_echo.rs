//! What Moorline's WebSocket sessions are measured against: axum's, in one process and on one thread.
//!
//! Each binary or text message goes back as it is. axum, and tungstenite below it, keep their usual settings.
//!
//! `axum_echo ADDRESS`, for instance `axum_echo 127.0.0.1:9400`; port 0 takes any that is free.

use std::io;
use std::process::ExitCode;

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::routing::any;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(address) = std::env::args().nth(1) else {
        eprintln!("usage: axum_echo HOST:PORT");
        return ExitCode::from(2);
    };
    match serve(&address).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    println!("listening on ws://{}/", listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        // A socket that has no such option has broken already, and says so when it is used.
        let _ = stream.set_nodelay(true);
    });
    let app = Router::new().route(
        "/",
        any(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(echo)),
    );
    axum::serve(listener, app).await
}

/// Echoes until the peer has no more, or the connection breaks, which concerns nobody else.
async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let is_data = matches!(message, Message::Binary(_) | Message::Text(_));
        if is_data && socket.send(message).await.is_err() {
            return;
        }
    }
}
