//! What holds for any request of a browser.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{Response, header};
use tokio::io::ReadBuf;

use super::*;
use crate::shared::http_memory::HttpMemory;

/// A folder with files and folders in it. The site does not care that they are sources.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// How often hyper may give others a turn without having taken a byte.
const TURNS: usize = 100;

/// Any bytes as a connection: it ends, every answer is HTTP, no file outside the folder is read, and only a
/// handshake that is one is accepted.
pub fn http(data: &[u8]) {
    let folder: OwnedFd = fs::File::open(FOLDER).expect("the folder is there").into();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime can be made");
    let _in_runtime = runtime.enter();

    let mut answers = Vec::new();
    let browser = Browser {
        says: data,
        hears: &mut answers,
    };
    let service =
        service_fn(|request| std::future::ready(Ok::<_, Infallible>(answer(&folder, &request))));
    let mut connection = Box::pin(
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .half_close(true)
            .header_read_timeout(Duration::from_secs(10))
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(browser), service),
    );
    // This browser never makes the server wait; hyper gives other tasks a turn now and then.
    let mut context = Context::from_waker(Waker::noop());
    let has_ended =
        (0..data.len() + TURNS).any(|_| connection.as_mut().poll(&mut context).is_ready());
    assert!(has_ended, "it waits for what never comes");
    drop(connection);
    assert!(answers.is_empty() || answers.starts_with(b"HTTP/1."));
}

/// A site's answer, without the bodies.
fn answer(folder: &OwnedFd, request: &Request<Incoming>) -> Response<Empty<Bytes>> {
    let mut answer = Response::new(Empty::new());
    let (method, target, version) = (request.method(), request.uri(), request.version());
    if let Err(refusal) = head::check(method, target, version, request.headers()) {
        assert!(refusal.status.is_client_error() || refusal.status.is_server_error());
        *answer.status_mut() = refusal.status;
        return answer;
    }
    if request.uri().path() == "/ws" {
        match head_of(request, SessionKind::WebSocket) {
            Ok(_) => {
                let key = &request.headers()[header::SEC_WEBSOCKET_KEY];
                let key = key.to_str().unwrap_or_default();
                assert!(key.len() == 24 && key.ends_with("=="), "{key:?}");
                assert!(!key.contains([' ', ',', '-', '\\']), "{key:?}");
                *answer.status_mut() = StatusCode::NO_CONTENT;
            }
            Err((status, why)) => {
                assert!(status.is_client_error() && !why.is_empty());
                *answer.status_mut() = status;
            }
        }
        return answer;
    }
    let encodings = encoding::accepted(request.headers());
    let found =
        FilePath::parse(request.uri().path()).map(|path| find(folder, &path, encodings, u64::MAX));
    match found {
        Ok(Ok(Opened::File(found))) => {
            let link = format!("/proc/self/fd/{}", found.file.as_raw_fd());
            let path = fs::read_link(link).expect("it is open");
            assert!(path.starts_with(FOLDER), "{} is {path:?}", request.uri());
            let asked = [Extent::All, Extent::Head][usize::from(*request.method() == Method::HEAD)];
            let cache = HeaderValue::from_static("no-cache");
            let memory = Arc::new(HttpMemory::default());
            let hold = |bytes| Some(memory.hold(bytes));
            *answer.status_mut() =
                file::answer(found, asked, request.headers(), &cache, hold).status();
        }
        Ok(Ok(Opened::FolderWithoutSlash)) => {
            let path = FilePath::parse(request.uri().path()).expect("it was one");
            let location = path.with_slash(request.uri().query());
            assert!(
                location.starts_with('/') && !location.starts_with("//"),
                "{location}"
            );
            *answer.status_mut() = moved(&location).status();
        }
        Ok(Err(_)) | Err(_) => *answer.status_mut() = StatusCode::NOT_FOUND,
    }
    answer
}

/// A browser that has sent everything, and takes any answer.
struct Browser<'a> {
    says: &'a [u8],
    hears: &'a mut Vec<u8>,
}

impl AsyncRead for Browser<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (now, later) = self.says.split_at(self.says.len().min(out.remaining()));
        out.put_slice(now);
        self.says = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Browser<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().hears.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    include!("../../../../fuzz/replay.rs");

    #[test]
    fn kept_inputs_break_no_invariant_of_http() {
        replay("http", super::http);
    }
}
