//! Options of a loop.

use std::time::Duration;

use crate::setters::setters;

/// Options of a loop.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoopOptions {
    /// The thread's name, of which the system keeps 15 bytes.
    pub name: String,
    /// How the system's scheduler treats the thread.
    pub priority: Priority,
    /// The only CPU that it runs on, counted from 0.
    pub cpu: Option<usize>,
    /// A loop that is held by one piece of work for longer is reported. 1 s; `None` watches nothing.
    pub stall_after: Option<Duration>,
}

setters! {
    LoopOptions {
        name: String,
        priority: Priority,
        cpu: Option<usize>,
        stall_after: Option<Duration>,
    }
}

/// How the system's scheduler treats a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Priority {
    /// Like any other thread.
    #[default]
    Normal,
    /// Before others (a nice value of −10), if the system allows it; else as any other, and a warning is logged.
    High,
}

impl Default for LoopOptions {
    fn default() -> Self {
        Self {
            name: "loop".to_owned(),
            priority: Priority::default(),
            cpu: None,
            stall_after: Some(Duration::from_secs(1)),
        }
    }
}
