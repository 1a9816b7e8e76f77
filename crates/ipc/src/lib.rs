//! What Moorline's processes share: rings in sealed memory, the doorbells that wake their consumers,
//! the channels that carry descriptors, and the scoreboards.
//!
//! A [`Region`] is the entry: the supervisor makes one with [`create_region`] for each pair of a gateway
//! loop and a process, sends its descriptor to both over a [`Channel`], and each maps it for its
//! [`Side`]. From there on the two speak through the [`Producer`] and the [`Consumer`] of the region and
//! wake each other with a [`Doorbell`] and its [`Chime`], without a system call while both are busy.
//!
//! Nothing the other side writes is trusted: what does not fit is [`Corrupt`], never a panic and never
//! an access outside the mapping.
//!
//! In reading order: [`Hello`] opens every channel, `channel` and `inherited` move descriptors,
//! `doorbell` wakes, `region` lays out the shared memory, `ring` moves records through it, `scoreboard`
//! counts, `flight` keeps the last events of a thread. `sys` holds the system calls that need `unsafe`.
//!
//! This crate knows nothing of sessions, of what a record means, or of any runtime. Sockets it knows only
//! as something to hand a payload to. It runs on Linux alone (memfd, seals, eventfd).

// Regions are real memory, which loom cannot explore; without them only its tests make rings.
#![cfg_attr(loom, allow(dead_code))]

mod channel;
mod doorbell;
mod flight;
mod hello;
#[cfg(all(any(test, fuzzing), not(loom)))]
#[doc(hidden)]
pub mod invariants;
#[cfg(not(loom))]
mod region;
mod ring;
mod scoreboard;
mod sync;
mod sys;

pub use channel::{Channel, CutOff, MAX_FDS, MAX_PACKET, Packet, close_elsewhere};
pub use doorbell::{Chime, Doorbell};
pub use flight::{FLIGHT_COUNTERS, FLIGHT_RECORDS, FlightRing, FlightTail, RawRecord, is_whole};
pub use hello::{Hello, HelloError};
#[cfg(not(loom))]
pub use region::{MAX_RING, MIN_RING, Marks, Region, Side, create_region};
pub use ring::{
    Consumer, Corrupt, Header, KeptConsumer, KeptProducer, LastRecord, NoRoom, Producer, Record,
    Reserved, SleepFence,
};
pub use scoreboard::{Scoreboard, create_scoreboard};
pub use sys::{StackSampler, capture_stack, inherited, poll_traced, take_variable};
