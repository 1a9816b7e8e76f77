//! Which program a configuration belongs to.

/// The program that a configuration belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// nginx.
    Nginx,
}

impl Kind {
    /// What a text looks like.
    pub fn of(_text: &str) -> Self {
        Self::Nginx
    }
}
