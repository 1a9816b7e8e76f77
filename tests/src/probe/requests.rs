//! What the probe answers to plain requests, as their paths and queries tell it to.

use std::rc::Rc;
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use moorline::{BodySender, ClientLeft, Request, Response, Result};
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::Probe;

/// Answers a request.
pub(super) async fn answer(probe: Rc<Probe>, request: Request) -> Result<Response> {
    let left = Left(&probe, request.target().to_owned());
    let answer = match request.path() {
        "/app/login" => login(&request),
        path if path.starts_with("/app/axum/") => request.serve(router()).await?,
        _ => obey(&probe, request).await?,
    };
    std::mem::forget(left);
    Ok(answer)
}

/// Notes that a hook was dropped before its end.
struct Left<'a>(&'a Rc<Probe>, String);

impl Drop for Left<'_> {
    fn drop(&mut self) {
        self.0.note(format_args!("left {}", self.1));
    }
}

fn login(request: &Request) -> Response {
    match request.body() {
        br#"{"name":"anna","password":"secret"}"# if request.method() == "POST" => {
            Response::json(r#"{"ok":true}"#).header("Set-Cookie", "session=42; HttpOnly")
        }
        _ => Response::json(r#"{"ok":false}"#).status(401),
    }
}

fn router() -> Router {
    let hello = async |Path(name): Path<String>| format!("hello {name} from axum");
    Router::new().route("/app/axum/{name}", get(hello))
}

/// Does what the values of `do` in the query ask for, one after the other.
async fn obey(probe: &Rc<Probe>, request: Request) -> Result<Response> {
    let pairs = request.query().unwrap_or_default().split('&');
    let orders = pairs.filter_map(|pair| pair.strip_prefix("do="));
    let process = std::process::id();
    let mut response = Response::text(format!("{} {process}", request.method()));
    for order in orders {
        let (verb, rest) = order.split_once(':').unwrap_or((order, ""));
        response = match verb {
            "echo" => response.body(request.body().to_vec()),
            "large" => response.body(vec![b'x'; rest.parse()?]),
            "status" => response.status(rest.parse()?),
            "header" => response.header("X-Said", rest),
            "break" => response.header("X-Said", "a\r\nb"),
            "peer" => Response::text(request.peer().to_string()),
            "tls" => Response::text(tls(&request)),
            "field" => Response::text(request.header(rest).unwrap_or("none")),
            "panic" => panic!("asked to panic in request"),
            "fail" => return Err("asked to fail in request".into()),
            "abort" => std::process::abort(),
            "wait" => {
                probe.note(format_args!("waits {process}"));
                sleep(Duration::from_millis(rest.parse()?)).await;
                response
            }
            "count" => {
                let (count, ms) = rest.split_once(':').ok_or("no milliseconds")?;
                let (sender, response) = response.channel();
                let pause = Duration::from_millis(ms.parse()?);
                spawn_local(count_to(sender, count.parse()?, pause));
                response
            }
            "pour" => {
                let (sender, response) = response.channel();
                spawn_local(pour(probe.clone(), sender));
                response
            }
            "half" => {
                let (sender, response) = response.channel();
                spawn_local(async move {
                    let _ = sender.send("half").await;
                });
                response
            }
            _ => return Err(format!("there is no order {verb:?}").into()),
        };
    }
    Ok(response)
}

/// What was agreed on for a connection.
fn tls(request: &Request) -> String {
    let Some(tls) = request.tls() else {
        return "none".to_owned();
    };
    let agreed = [Some(tls.version.as_str()), tls.alpn.as_deref()];
    agreed.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// Sends one number after the other, each as a line.
async fn count_to(
    sender: BodySender,
    count: u32,
    pause: Duration,
) -> std::result::Result<(), ClientLeft> {
    for number in 1..=count {
        sender.send(format!("{number}\n")).await?;
        sleep(pause).await;
    }
    sender.end();
    Ok(())
}

/// Sends without end, and notes how much.
async fn pour(probe: Rc<Probe>, sender: BodySender) {
    let mut sent = 0;
    while sender.send(vec![b'x'; 64 * 1024]).await.is_ok() {
        sent += 64;
        probe.note(format_args!("poured {sent}"));
    }
    probe.note(format_args!("drained {sent}"));
}
