//! Engines on several machines: which nodes there are, and how bytes get to them over NATS.
//!
//! [`ClusterLink`] is the entry: each worker process has one. It knows other nodes by the [`Beat`]s of their processes, and
//! hands [`Frame`]s from process to process, in order and at most once. This crate knows no sessions, rings or apps: what is in
//! a frame is its user's.
//!
//! In reading order:
//!
//! - `calls`: requests to other processes
//! - `link` joins the rest: one process's place in the cluster; `user`: what it and its user say to each other
//! - `presence_link`: the members of the groups of all nodes, over NATS
//! - `announcer`: what a process of a node says about the members of its groups; `rosters`: what others make of it
//! - `presence_message`: how it is said; `roster`: the members of the groups of one node
//! - `connection` speaks NATS; without the feature `nats` it refuses to; `link_state`
//!   says how it is
//! - `queue`: what NATS has yet to take
//! - `members`: which nodes and processes there are, from their beats and the times of these
//! - `ways`: how much may be on its way to each process, and where to go on when a process is replaced
//! - `arrivals`: how far the messages of each process were read and confirmed
//! - `pending`: calls that are not answered yet
//! - `traffic`: what is counted
//! - `beat`, `frame`: what is written, and read from others who are not trusted
//! - `subjects`: the names under which it travels

#![forbid(unsafe_code)]

mod announcer;
mod arrivals;
mod beat;
mod calls;
#[cfg_attr(not(feature = "nats"), path = "no_connection.rs")]
mod connection;
mod frame;
mod link;
mod link_state;
mod members;
mod pending;
mod presence_link;
mod presence_message;
#[cfg(feature = "nats")]
mod queue;
mod roster;
mod rosters;
mod subjects;
mod traffic;
mod user;
mod ways;

pub use beat::{Beat, BeatKind};
pub use calls::CallDraft;
pub use frame::{Frame, FrameHeader, FrameKind, HEADER_BYTES};
pub use link::ClusterLink;
pub use members::{Node, NodeChange};
pub use pending::{CallAnswer, CallLoss, OpenCall};
pub use presence_link::{PresenceLink, PresenceUser};
pub use roster::{Membership, Roster};
pub use traffic::{Traffic, TrafficCounts};
pub use user::{ClusterNews, ClusterPlace, ClusterUser, FrameDraft, OfferError};
