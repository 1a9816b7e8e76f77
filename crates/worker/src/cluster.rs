//! How this process joins the cluster and leaves it, and what comes from other nodes.

mod groups;
mod presence;

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use moorline_cluster::{
    ClusterLink, ClusterNews, ClusterPlace, ClusterUser, Frame, FrameKind, NodeChange,
};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};

use crate::app::{SendError, Session};
use crate::control::Role;
use crate::neighbours::Neighbours;
use crate::session_id::SessionId;
use crate::wire::event::{EVENT, split_event};
use crate::wire::{FORCE, LONGEST_CLOSE_TEXT};
use crate::{Core, Form, Refusal, Room, SessionState, answering, clock};

/// How long the gateway has to take what came for an old process.
const SETTLES_WITHIN: Duration = Duration::from_secs(1);
/// How long a message of another node waits for room in a ring. Those behind it wait with it, whatever their session.
const ROOM_WITHIN: Duration = Duration::from_secs(5);
/// How often the log has that messages are dropped, at most.
const TOLD_AGAIN: Duration = Duration::from_secs(10);

/// Joins the cluster, if one is configured.
///
/// # Errors
/// The settings cannot be used, or another node has the name or number of this one.
pub(crate) async fn join(core: &Rc<Core>, engine: u64) -> Result<(), String> {
    let Some(settings) = &core.config.cluster else {
        return Ok(());
    };
    let link = ClusterLink::open(settings, place(core, engine)).await?;
    let neighbours = Rc::new(Neighbours::new(link.clone()));
    // It is set once.
    let _ = core.neighbours.set(neighbours.clone());
    let user = Rc::new(Arrivals {
        core: core.clone(),
        neighbours: neighbours.clone(),
        told: Cell::new(None),
    });
    spawn_local({
        let (link, user) = (link.clone(), user.clone());
        async move { report(link.follow_beats(&*user).await) }
    });
    spawn_local({
        let link = link.clone();
        async move { report(link.follow_frames(&*user).await) }
    });
    let far = neighbours.presence().clone();
    spawn_local({
        let (far, user) = (far.clone(), presence::FarMembers(core.clone()));
        async move { report(far.follow(&user).await) }
    });
    let admitted = link.admitted().await;
    if let Err(error) = &admitted {
        if is_of_first_start(core) {
            return admitted;
        }
        // Its engine serves clients, and goes on.
        tracing::error!(%error, "this worker starts outside of the cluster");
    }
    if admitted.is_ok() && !link.is_up() && reports(core) {
        let error = link.trouble();
        tracing::warn!(
            error,
            "NATS is away: this node is alone until it comes; sends to other nodes fail with `Unreachable`"
        );
    }
    if core.role == Role::Worker(core.slot()) {
        spawn_local(serve(core.clone(), link, admitted.is_ok()));
        spawn_local(presence::lead(core.clone(), far));
    }
    Ok(())
}

/// Which process this is.
fn place(core: &Core, engine: u64) -> ClusterPlace {
    ClusterPlace {
        incarnation: engine,
        process: mix(engine ^ mix(u64::from(core.process))),
        slot: core.slot(),
        generation: core.generation,
        // Nobody sends to a task worker.
        slots: match core.role {
            Role::Worker(_) => core.config.workers.count,
            Role::Task(_) | Role::Gateway => 0,
        },
    }
}

/// Lets others send to this process once it serves.
async fn serve(core: Rc<Core>, link: Rc<ClusterLink>, was_admitted: bool) {
    core.commitment.committed().await;
    link.serve();
    if !reports(&core) || !was_admitted {
        return;
    }
    if let Some(error) = link.refused() {
        // Until the commit it was not told.
        tracing::error!(%error, "this node is not in the cluster");
    } else if link.is_up() {
        let nodes: Vec<_> = link.nodes().into_iter().map(|node| node.name).collect();
        let (node, others) = (&link.own().name, nodes.join(", "));
        tracing::info!(%node, %others, "this node belongs to the cluster");
    }
}

/// Leaves it in order.
pub(crate) async fn leave(core: &Core, deadline: Instant) {
    if let Some(neighbours) = core.neighbours.get() {
        neighbours.link().hand_over(deadline).await;
    }
}

/// Says the last word.
pub(crate) async fn end(core: &Core) {
    if let Some(neighbours) = core.neighbours.get() {
        // A server that takes nothing does not keep the process.
        let _ = timeout(Duration::from_secs(1), neighbours.link().bid_farewell()).await;
    }
}

fn report(ended: Result<(), String>) {
    if let Err(error) = ended {
        tracing::error!(%error, "this process cannot reach other nodes any more");
    }
}

/// One process of an engine tells what all of them see.
fn reports(core: &Core) -> bool {
    core.role == Role::Worker(0)
}

/// Whether the engine does not run without this process: it is one of those that it starts with.
fn is_of_first_start(core: &Core) -> bool {
    let config = &core.config;
    let most = u32::from(config.workers.count) + u32::from(config.tasks.count);
    core.generation == 1 && core.process <= most
}

/// Spreads close numbers over all.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// What comes from other nodes.
struct Arrivals {
    core: Rc<Core>,
    neighbours: Rc<Neighbours>,
    /// When the log last had that a message was dropped.
    told: Cell<Option<Instant>>,
}

impl Arrivals {
    /// Counts a message that was dropped, and tells it once in a while: others decide how often it happens.
    fn drop_one(&self, frame: &Frame, error: SendError) {
        let dropped = self.neighbours.link().traffic().drop_one();
        let now = Instant::now();
        if self.told.get().is_none_or(|told| told + TOLD_AGAIN <= now) {
            self.told.set(Some(now));
            let (kind, node) = (frame.header.kind, frame.header.node);
            let session = SessionId::from(frame.header.session);
            let session = (kind != FrameKind::Broadcast).then(|| tracing::field::display(session));
            tracing::warn!(session, node, %error, dropped, "messages of other nodes are dropped");
        }
    }
}

impl ClusterUser for Arrivals {
    async fn take(&self, frame: Frame) {
        let id = frame.header.session;
        if frame.header.kind == FrameKind::Call {
            answering::take(&self.core, &frame);
            return;
        }
        if frame.header.kind == FrameKind::Unknown {
            if SessionId::from(id).node() == frame.header.node {
                self.core.sessions.unknown(id);
            }
            return;
        }
        if frame.header.kind == FrameKind::Broadcast {
            if let Err(error) = groups::broadcast(&self.core, &frame).await {
                self.drop_one(&frame, error);
            }
            return;
        }
        if SessionId::from(id).node() != self.core.node {
            self.neighbours
                .link()
                .answer(&frame.header, FrameKind::Unknown, 0, id);
            return;
        }
        self.neighbours.note_sender(frame.header);
        let session = self.core.sessions.any(&self.core, id);
        let given = match frame.header.kind {
            FrameKind::Send => send(&session, &frame).await,
            FrameKind::Close => close(&session, &frame).await,
            FrameKind::Join | FrameKind::Leave => groups::change(&session, &frame),
            FrameKind::Unknown
            | FrameKind::Probe
            | FrameKind::Taken
            | FrameKind::Broadcast
            | FrameKind::Call
            | FrameKind::Answer => Ok(()),
        };
        match given {
            Ok(()) | Err(SendError::Closing) => {}
            Err(SendError::Closed | SendError::NoSuchSession) => self.neighbours.unknown(id),
            Err(error) => self.drop_one(&frame, error),
        }
        self.core.outbox.show();
        self.core.outbox.keep_pace(clock::now());
    }

    async fn settle(&self) {
        let outbox = &self.core.outbox;
        let settled = async {
            for link in 0..outbox.links() {
                let position = loop {
                    match outbox.position(link) {
                        Some(position) => break position,
                        None => sleep(Duration::from_millis(1)).await,
                    }
                };
                while !outbox.has_taken(link, position) {
                    sleep(Duration::from_millis(1)).await;
                }
            }
        };
        let _ = timeout(SETTLES_WITHIN, settled).await;
    }

    fn tell(&self, news: ClusterNews) {
        if let ClusterNews::Node(_) = news {
            self.neighbours.have_changed();
        }
        if !reports(&self.core) || !self.core.commitment.is_committed() {
            return;
        }
        match news {
            ClusterNews::Node(NodeChange::Joined(node)) => {
                tracing::info!(node = %node.name, number = node.number, "node joined");
            }
            ClusterNews::Node(NodeChange::Lost(node)) => {
                tracing::warn!(node = %node.name, number = node.number, "node lost");
            }
            ClusterNews::Node(_) => {}
            ClusterNews::Up => tracing::info!("NATS is there"),
            ClusterNews::Away(None) => {
                tracing::warn!("NATS is away: sends to other nodes fail with `Unreachable`");
            }
            ClusterNews::Away(Some(error)) => tracing::warn!(%error, "NATS is away"),
            ClusterNews::Refused(other) => {
                let error = self.neighbours.link().refusal(&other);
                tracing::error!(%error, "this node is not in the cluster");
            }
        }
    }
}

/// Gives a message to a session, waiting for room in the ring. Watermarks are not waited for: a slow session is closed at its
/// listener's `hard_limit`.
async fn send(session: &Session, frame: &Frame) -> Result<(), SendError> {
    let form = Form::of(frame.header.flags, frame.header.aux);
    if frame.header.aux == EVENT && split_event(&frame.payload).is_none() {
        return Err(SendError::BadEvent);
    }
    with_room(session.shared(), |state| {
        state.offer(&frame.payload, form, Room::Bounded)
    })
    .await
}

async fn close(session: &Session, frame: &Frame) -> Result<(), SendError> {
    let text = std::str::from_utf8(&frame.payload).unwrap_or_default();
    let text = match text.len() <= LONGEST_CLOSE_TEXT {
        true => text,
        false => "",
    };
    let (flags, code) = (frame.header.flags & FORCE, frame.header.aux);
    with_room(session.shared(), |state| {
        state.close_in(Room::Bounded, flags, code, text)
    })
    .await
}

/// Does something for a session again and again until there is room for it, but not for ever: a gateway loop that stands still must not keep
/// the messages of all others.
async fn with_room(
    state: &SessionState,
    attempt: impl Fn(&SessionState) -> Result<(), Refusal>,
) -> Result<(), SendError> {
    let outbox = &state.core().outbox;
    let mut ticket = None;
    let with_ticket = poll_fn(|cx| match attempt(state) {
        Ok(()) => Poll::Ready(Ok(())),
        Err(Refusal::Never(error)) => Poll::Ready(Err(error)),
        Err(Refusal::NoRoom(need)) => {
            outbox.await_room(state.link(), need, &mut ticket, cx.waker());
            Poll::Pending
        }
        Err(Refusal::Watermark) => Poll::Ready(Err(SendError::Full)),
    });
    let done = timeout(ROOM_WITHIN, with_ticket).await;
    if let Some(ticket) = ticket {
        outbox.forget_waiter(state.link(), ticket);
    }
    done.unwrap_or(Err(SendError::Full))
}
