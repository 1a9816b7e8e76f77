//! One thread that runs a tokio `LocalRuntime`; it never blocks.

mod handle;
mod load;
mod lock;
mod options;
mod pool;
mod shared;
mod task;
mod watchdog;

pub use handle::{EventLoop, MAX_POSTED};
pub use options::{LoopOptions, Priority};
pub use pool::{EventLoopPool, LoopPoolOptions};
pub(crate) use task::contained;
pub use task::{Task, TaskError};
