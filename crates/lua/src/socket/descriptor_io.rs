//! Receiving and sending, apart from who waits for it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, recvfrom};
use tokio::time::timeout;

use super::registration::watch;
use super::send_queue::SendQueue;
use super::shared_socket::SocketKind;

/// How long a peer has to take what was written by a service that has ended.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Sends what a script has written and closed before its service ended.
pub(crate) async fn send_rest(descriptor: Arc<OwnedFd>, mut queue: SendQueue) {
    let Ok(io) = watch(descriptor) else {
        return;
    };
    let all = async {
        while let Some((bytes, _)) = queue.next() {
            let mut guard = io.writable().await?;
            match rustix::net::send(io.get_ref(), bytes, SendFlags::NOSIGNAL) {
                Ok(count) => queue.sent(count),
                Err(Errno::AGAIN) => guard.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
        io::Result::Ok(())
    };
    // The peer may be gone, and nobody is left to tell.
    let _ = timeout(LONGEST_REST, all).await;
}

/// Receives once; of a datagram also the sender.
pub(crate) fn receive(
    kind: SocketKind,
    descriptor: &OwnedFd,
    scratch: &mut [u8],
) -> io::Result<(usize, Option<SocketAddr>)> {
    match kind {
        SocketKind::Bound => Ok((rustix::io::read(descriptor, scratch)?, None)),
        SocketKind::Datagram => {
            let (_, size, from) = recvfrom(descriptor, &mut *scratch, RecvFlags::empty())?;
            let from = from.and_then(|from| from.try_into().ok());
            let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
            Ok((size.min(scratch.len()), Some(from.unwrap_or(nobody))))
        }
        _ => Ok((recv(descriptor, &mut *scratch, RecvFlags::empty())?.0, None)),
    }
}
