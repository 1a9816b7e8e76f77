//! Hooks of `[engine.hooks]`: commands that run when the engine starts, before it stops, and after it has stopped.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::task::spawn_local;
use tokio::time::timeout;
use tracing::{info, warn};

use moorline_config::HelperTask;
use moorline_process::open_files;
use moorline_protocol::start::HelperStart;

use super::child::{kill_child, kill_group, log_lines};
use super::deployment::Deployment;
use super::spawn;

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Started,
    Stopping,
    Stopped,
}

impl Moment {
    fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

/// A command that runs.
pub(super) struct Hook {
    moment: Moment,
    process: tokio::process::Child,
    outputs: Vec<tokio::task::JoinHandle<()>>,
    limit: Duration,
}

impl Hook {
    /// Starts the hook that this deployment has for this moment, if it has one. If the hook cannot be started, that is
    /// logged and the engine continues.
    pub(super) fn start(moment: Moment, deployment: &Deployment) -> Option<Self> {
        let engine = &deployment.config.engine;
        let command = match moment {
            Moment::Started => &engine.hooks.started,
            Moment::Stopping => &engine.hooks.stopping,
            Moment::Stopped => &engine.hooks.stopped,
        };
        let start = HelperStart {
            task: HelperTask::Command(command.clone()?),
            user: engine.user.clone(),
            group: engine.group.clone(),
            open_files: open_files::soft_before(),
        };
        let hook = moment.as_str();
        let title = format!("moorline: hook {hook} ({})", deployment.config.name);
        match spawn::helper(deployment.executable.as_fd(), &title, &start, None) {
            Ok(process) => {
                info!(hook, "hook runs");
                Some(Self::attend(moment, process, engine.hooks.timeout))
            }
            Err(error) => {
                warn!(hook, %error, "a hook cannot be started");
                None
            }
        }
    }

    fn attend(moment: Moment, mut process: tokio::process::Child, limit: Duration) -> Self {
        let name = format!("hook {}", moment.as_str());
        let mut outputs = Vec::new();
        if let Some(out) = process.stdout.take() {
            outputs.push(spawn_local(log_lines(name.clone(), out)));
        }
        if let Some(out) = process.stderr.take() {
            outputs.push(spawn_local(log_lines(name, out)));
        }
        Self {
            moment,
            process,
            outputs,
            limit,
        }
    }

    /// Waits for its end, or kills it at its timeout, and all processes that it has started.
    pub(super) async fn ended(mut self) {
        let hook = self.moment.as_str();
        let pid = self.process.id();
        let end = timeout(self.limit, self.process.wait()).await;
        if let Some(pid) = pid {
            kill_group(pid, Signal::SIGKILL);
        }
        match end {
            Ok(Ok(status)) if status.success() => info!(hook, "hook has ended"),
            Ok(end) => warn!(hook, end = %told(end), "a hook failed"),
            Err(_) => {
                warn!(hook, "a hook took longer than its timeout and is killed");
                let _ = self.process.wait().await;
            }
        }
        for output in std::mem::take(&mut self.outputs) {
            // A process that left the group may still hold it.
            let _ = timeout(LAST_WORDS, output).await;
        }
    }
}

/// The engine has ended: no hook outlives it.
impl Drop for Hook {
    fn drop(&mut self) {
        // It has no number after it was waited for.
        if let Some(pid) = self.process.id() {
            kill_child(pid, Signal::SIGKILL);
        }
    }
}

/// Its output is logged before the engine continues, if it comes within this time.
const LAST_WORDS: Duration = Duration::from_millis(200);

fn told(end: io::Result<std::process::ExitStatus>) -> String {
    end.map_or_else(|error| error.to_string(), |status| status.to_string())
}
