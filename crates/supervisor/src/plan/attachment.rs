//! How far a process and the gateway are joined.

/// Whether the present gateway can serve a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attachment {
    /// The gateway does not know of it.
    Detached,
    /// The gateway was asked to attach it, and has not answered.
    Asked,
    /// The gateway can serve it.
    Attached,
    /// The gateway was told that it serves.
    Active,
}

impl Attachment {
    /// The gateway cannot serve it yet.
    pub(super) fn is_pending(self) -> bool {
        matches!(self, Self::Detached | Self::Asked)
    }
}
