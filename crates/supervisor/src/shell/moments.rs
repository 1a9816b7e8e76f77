//! The start, the reloads and the stop of the engine as a whole: announcements and hooks.

use std::io::{self, Write};

use tokio::task::spawn_local;
use tracing::info;

use super::super::hooks::{Hook, Moment};
use super::super::input::Input;
use super::super::plan::Event;
use super::Shell;

impl Shell {
    /// The engine serves for the first time.
    pub(super) fn announce(&self) {
        let [generation, _] = self.plan.generations();
        let listeners = self.deployments.get(&generation).into_iter();
        let mut text: String = listeners
            .flat_map(|deployment| deployment.listeners.lines())
            .map(|line| format!("{line}\n"))
            .collect();
        text.push_str("ready\n");
        let mut stdout = io::stdout().lock();
        // The engine serves, whether anyone reads this or not.
        let _ = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush());
        info!("serving");
        self.say_ready();
        if let Some(hook) = self.hook(Moment::Started) {
            spawn_local(hook.ended());
        }
    }

    /// Runs the hook before a stop, and tells the plan when it has ended.
    pub(super) fn run_stop_hook(&mut self) {
        match self.hook(Moment::Stopping) {
            Some(hook) => {
                let inputs = self.inputs.clone();
                spawn_local(async move {
                    hook.ended().await;
                    // Without a receiver the engine has ended.
                    let _ = inputs.send(Input::Event(Event::StopHookEnded)).await;
                });
            }
            None => self.tell(Event::StopHookEnded),
        }
    }

    /// Tells the service manager that the committed generation serves.
    pub(super) fn say_ready(&self) {
        // A stop abandons the reload that it meets.
        if !self.plan.is_stopping() {
            let [generation, _] = self.plan.generations();
            self.notifier
                .ready(&format!("generation {generation} serves"));
        }
    }

    /// Starts the hook of this moment, if there is one.
    pub(super) fn hook(&self, moment: Moment) -> Option<Hook> {
        let [generation, _] = self.plan.generations();
        Hook::start(moment, self.deployments.get(&generation)?)
    }
}
