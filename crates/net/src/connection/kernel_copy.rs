//! Files into sockets without a detour through this process.

use std::fs::File;
use std::io;
use std::task::{Context, Poll, ready};

use rustix::fs::sendfile;
use tokio::io::Interest;

use super::{Connection, Stream};

impl Connection {
    /// Whether the peer gets the bytes as they are, so that the kernel may copy them.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.stream, Stream::Tcp(_) | Stream::Unix(_))
    }

    /// Has the kernel copy up to `count` bytes of `file` from `offset` on. Zero: the file ends there, or the
    /// stream is not [plain](Self::is_plain).
    pub(crate) fn poll_send_file(
        &self,
        cx: &mut Context<'_>,
        file: &File,
        offset: u64,
        count: usize,
    ) -> Poll<io::Result<usize>> {
        let mut offset = offset;
        loop {
            let sent = match &self.stream {
                Stream::Tcp(stream) => {
                    ready!(stream.poll_write_ready(cx))?;
                    stream.try_io(Interest::WRITABLE, || {
                        Ok(sendfile(stream, file, Some(&mut offset), count)?)
                    })
                }
                Stream::Unix(stream) => {
                    ready!(stream.poll_write_ready(cx))?;
                    stream.try_io(Interest::WRITABLE, || {
                        Ok(sendfile(stream, file, Some(&mut offset), count)?)
                    })
                }
                Stream::Tls(_) => Ok(0),
            };
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                sent => return Poll::Ready(sent),
            }
        }
    }
}
