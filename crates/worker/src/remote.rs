//! What programs beside the engine ask of it, over a route of kind `engine`: to send, to post, to run a task, to tell its
//! state. It is done here, in a worker, with what an app has for it.

use crate::app::{Context, PostError, Request, Response, SendError, SessionId, TaskError};

/// Does what a request asks for, and answers it.
pub(crate) async fn answer(context: &Context, request: &Request) -> Response {
    let parts: Vec<_> = request.rest().split('/').collect();
    let method = request.method();
    match (method, &parts[..]) {
        ("GET", ["status"]) => match context.status().await {
            Ok(status) => Response::json(status),
            Err(error) => refusal(503, error),
        },
        ("POST", ["sessions" | "groups", _])
            if event_of(request).is_some() && text_of(request).is_none() =>
        {
            refusal(400, "the data of an event is UTF-8")
        }
        ("POST", ["sessions", id]) => match id.parse::<SessionId>() {
            Ok(id) => sent(send(context, id, request).await),
            Err(error) => refusal(404, error),
        },
        ("POST", ["groups", name]) => sent(publish(context, name, request).await),
        ("POST", ["workers", slot]) => match slot.parse() {
            Ok(slot) => posted(context.post(slot, request.body()).await),
            Err(_) => posted(Err(PostError::NoSuchWorker)),
        },
        ("POST", ["tasks"]) => finished(context.task(request.body()).await),
        (_, ["status"]) => wrong_method("GET"),
        (_, ["sessions" | "groups" | "workers", _] | ["tasks"]) => wrong_method("POST"),
        _ => refusal(
            404,
            "ask for status, sessions/ID, groups/NAME, workers/N or tasks",
        ),
    }
}

async fn send(context: &Context, id: SessionId, request: &Request) -> Result<(), SendError> {
    let session = context.session(id);
    match (event_of(request), text_of(request)) {
        (Some((id, name)), Some(data)) => session.send_event(id, name, data).await,
        (None, Some(text)) if request.is_text() => session.send_text(text).await,
        _ => session.send(request.body()).await,
    }
}

async fn publish(context: &Context, name: &str, request: &Request) -> Result<(), SendError> {
    let name = percent_encoding::percent_decode_str(name).collect::<Vec<_>>();
    let group = context.group(name);
    match (event_of(request), text_of(request)) {
        (Some((id, name)), Some(data)) => group.send_event(id, name, data).await,
        (None, Some(text)) if request.is_text() => group.send_text(text).await,
        _ => group.send(request.body()).await,
    }
}

/// The id and the name of the event that the query makes of a body.
fn event_of(request: &Request) -> Option<(String, String)> {
    let (id, name) = (request.query_value("id"), request.query_value("event"));
    let is_one = id.is_some() || name.is_some();
    is_one.then(|| (id.unwrap_or_default(), name.unwrap_or_default()))
}

fn text_of(request: &Request) -> Option<&str> {
    std::str::from_utf8(request.body()).ok()
}

fn sent(result: Result<(), SendError>) -> Response {
    match result {
        Ok(()) => Response::new(204),
        Err(error @ (SendError::Closed | SendError::Closing | SendError::NoSuchSession)) => {
            refusal(404, error)
        }
        Err(error @ SendError::TooLarge { .. }) => refusal(413, error),
        Err(error @ SendError::BadEvent) => refusal(400, error),
        Err(error) => refusal(503, error),
    }
}

fn posted(result: Result<(), PostError>) -> Response {
    match result {
        Ok(()) => Response::new(204),
        Err(error @ PostError::NoSuchWorker) => refusal(404, error),
        Err(error @ PostError::TooLarge { .. }) => refusal(413, error),
        Err(error) => refusal(503, error),
    }
}

fn finished(result: Result<Vec<u8>, TaskError>) -> Response {
    match result {
        Ok(result) => Response::new(200)
            .header("Content-Type", "application/octet-stream")
            .body(result),
        Err(error @ TaskError::Failed(_)) => refusal(500, error),
        Err(error @ TaskError::TooLarge { .. }) => refusal(413, error),
        Err(error) => refusal(503, error),
    }
}

fn wrong_method(allowed: &str) -> Response {
    refusal(405, format!("use {allowed}")).header("Allow", allowed)
}

fn refusal(status: u16, why: impl ToString) -> Response {
    Response::text(why.to_string()).status(status)
}
