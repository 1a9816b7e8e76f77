//! Tower services that answer requests.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_core::Stream;
use http::header::CONTENT_LENGTH;
use http_body::Body;
use http_body_util::Full;
use tower_service::Service;

use crate::app::{Error, Request, Response, Result};
use crate::wire::accept::is_field;

impl Request {
    /// Has a tower service answer, such as an axum router:
    ///
    /// ```
    /// use std::rc::Rc;
    ///
    /// use moorline_worker::app::{Request, Response, Result};
    ///
    /// struct Web {
    ///     router: axum::Router,
    /// }
    ///
    /// impl Web {
    ///     async fn request(self: Rc<Self>, request: Request) -> Result<Response> {
    ///         request.serve(self.router.clone()).await
    ///     }
    /// }
    /// ```
    ///
    /// The service gets method, target, fields and body, and among the extensions the [`Peer`](crate::app::Peer) and, if the
    /// connection is encrypted, the [`SessionTls`](crate::app::SessionTls). Its answer is streamed. Fields of it that describe
    /// the connection, and trailers, are left out. It runs on the process's one thread, and cannot upgrade the connection.
    ///
    /// Needs the feature `tower`. Dropping the future drops that of the service.
    ///
    /// # Errors
    /// Those of the service, and what [`Response`] says.
    pub async fn serve<S, B>(self, mut service: S) -> Result<Response>
    where
        S: Service<http::Request<Full<Bytes>>, Response = http::Response<B>>,
        S::Error: Into<Error>,
        B: Body + 'static,
        B::Error: Into<Error>,
    {
        let Some(request) = self.into_http() else {
            return Ok(Response::text("the request cannot be read").status(400));
        };
        poll_fn(|cx| service.poll_ready(cx))
            .await
            .map_err(Into::into)?;
        let answer = service.call(request).await.map_err(Into::into)?;
        Ok(Response::of_http(answer))
    }

    /// The same request as the crate `http` has it. `None`: it is none that this knows.
    fn into_http(self) -> Option<http::Request<Full<Bytes>>> {
        let mut request = http::Request::builder()
            .method(self.method())
            .uri(self.target());
        for (name, value) in self.headers() {
            request = request.header(name, value);
        }
        request = request.extension(self.peer().clone());
        if let Some(tls) = self.tls() {
            request = request.extension(tls.clone());
        }
        request.body(Full::new(self.into_body())).ok()
    }
}

impl Response {
    fn of_http<B>(answer: http::Response<B>) -> Self
    where
        B: Body + 'static,
        B::Error: Into<Error>,
    {
        let (head, body) = answer.into_parts();
        let announced = head.headers.get(CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse().ok());
        let length = announced.or(body.size_hint().exact());
        let mut response = Response::new(head.status.as_u16());
        for (name, value) in &head.headers {
            if is_field(name.as_str(), "") {
                response = response.header(name.as_str(), value.as_bytes());
            }
        }
        if !body.is_end_stream() {
            response = response.stream(Frames(Box::pin(body)));
        }
        match length {
            Some(length) => response.length(length),
            None => response,
        }
    }
}

/// The pieces of a body.
struct Frames<B>(Pin<Box<B>>);

impl<B: Body> Stream for Frames<B>
where
    B::Error: Into<Error>,
{
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let frame = match ready!(self.0.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => return Poll::Ready(None),
            };
            // Trailers are left out.
            if let Ok(mut data) = frame.into_data() {
                let bytes = data.copy_to_bytes(data.remaining());
                return Poll::Ready(Some(Ok(bytes)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use axum::Router;
    use axum::extract::Path;
    use axum::routing::{get, post};

    use crate::app::{App, Context, Message, NoSettings, Peer, Request, Response, Result, Session};
    use crate::testing::ScriptedEngine;

    struct Web(Router);

    impl App for Web {
        type Settings = NoSettings;

        async fn start(_: Context, _: NoSettings) -> Result<Self> {
            let hello = async |Path(name): Path<String>| format!("hello {name}");
            let echo = async |body: String| (axum::http::StatusCode::CREATED, body);
            let peer = async |axum::Extension(peer): axum::Extension<Peer>| peer.to_string();
            Ok(Self(
                Router::new()
                    .route("/hello/{name}", get(hello))
                    .route("/echo", post(echo))
                    .route("/peer", get(peer)),
            ))
        }

        async fn message(self: Rc<Self>, _: Session, _: Message) -> Result {
            Ok(())
        }

        async fn request(self: Rc<Self>, request: Request) -> Result<Response> {
            request.serve(self.0.clone()).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_axum_router_answers() {
        let engine = ScriptedEngine::start(Web::start, NoSettings {}).await;
        let engine = engine.expect("it starts");
        let answer = engine.ask("GET", "/hello/anna").send().await;
        assert_eq!(answer.status(), 200);
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
        assert_eq!(answer.length(), Some(10));
        assert_eq!(answer.body().await, b"hello anna");

        let answer = engine.ask("POST", "/echo").body("ahoy").send().await;
        assert_eq!((answer.status(), answer.length()), (201, Some(4)));
        assert_eq!(answer.body().await, b"ahoy");

        let answer = engine.ask("HEAD", "/hello/anna").send().await;
        assert_eq!((answer.status(), answer.length()), (200, Some(10)));
        assert_eq!(answer.body().await, b"");

        let from = "10.1.2.3:4".parse().unwrap();
        let answer = engine.ask("GET", "/peer").from(from).send().await;
        assert_eq!(answer.body().await, b"10.1.2.3:4");
        assert_eq!(engine.ask("GET", "/echo").send().await.status(), 405);
        assert_eq!(engine.ask("GET", "/none").send().await.status(), 404);
    }
}
