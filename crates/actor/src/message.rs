//! What is sent.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::id::ServiceId;

/// A message in a mailbox.
#[derive(Debug)]
pub struct Message {
    /// The service that sent it, or [`ServiceId::NONE`].
    pub source: ServiceId,
    /// What an answer has to name; 0 if none is awaited.
    pub session: Session,
    /// What it is.
    pub kind: Kind,
    /// What it carries.
    pub payload: Payload,
}

impl Message {
    /// Whether its sender waits for an answer. What is sent in the name of nobody may have a session, and no answer.
    #[inline]
    pub fn is_call(&self) -> bool {
        self.session != 0
            && self.source != ServiceId::NONE
            && !self.kind.is_answer()
            && !matches!(self.kind, Kind::WOKEN | Kind::EXITED)
    }
}

/// The number of a call, chosen by its sender. Never 0 for a call.
pub type Session = u32;

/// What a message is. The core knows the kinds named here; the others are its users'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind(pub u8);

impl Kind {
    /// The answer to a call, or a timer that is due.
    pub const RESPONSE: Self = Self(1);
    /// A call has failed.
    pub const ERROR: Self = Self(7);
    /// A request with a type of Rust.
    pub const TYPED: Self = Self(253);
    /// A future of a service can go on.
    pub const WOKEN: Self = Self(254);
    /// A service that this one watches is gone; it is the source.
    pub const EXITED: Self = Self(255);

    /// Whether it answers a call.
    #[inline]
    pub fn is_answer(self) -> bool {
        matches!(self, Self::RESPONSE | Self::ERROR)
    }
}

/// What a message carries.
#[derive(Default)]
pub enum Payload {
    /// Nothing.
    #[default]
    Empty,
    /// Bytes whose meaning depends on the kind.
    Bytes(Vec<u8>),
    /// Bytes that several messages share.
    Shared(Arc<[u8]>),
    /// A value of Rust.
    Value(Box<dyn Any + Send>),
    /// A service that was launched.
    Service(ServiceId),
    /// Why a call has failed, in words.
    Failure(Box<str>),
}

impl Payload {
    /// The bytes that it holds; 0 for what is not bytes.
    #[inline]
    pub fn size(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Shared(bytes) => bytes.len(),
            Self::Failure(text) => text.len(),
            Self::Empty | Self::Value(_) | Self::Service(_) => 0,
        }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::Shared(bytes) => write!(f, "Shared({} bytes)", bytes.len()),
            Self::Value(_) => f.write_str("Value"),
            Self::Service(id) => write!(f, "Service({id})"),
            Self::Failure(text) => write!(f, "Failure({text})"),
        }
    }
}

/// Why a message was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// There is no such service, or no more.
    Gone(ServiceId),
    /// Its mailbox is at the hard limit: it is much slower than its senders.
    Full(ServiceId),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone(id) => write!(f, "there is no service {id}"),
            Self::Full(id) => write!(f, "the mailbox of {id} is full"),
        }
    }
}

impl std::error::Error for SendError {}
