//! What the buttons do.

use std::path::Path;
use std::sync::PoisonError;

use rustix::process::Signal;
use serde::Deserialize;
use serde_json::Value;

use crate::engine::{self, Doors};
use crate::events::Events;
use crate::flood::flood;
use crate::site::Site;

/// A button.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Act {
    /// Kill a worker, at once and without a word.
    KillWorker,
    /// Stop a worker, as a debugger does, and leave it so.
    FreezeWorker,
    /// Put a build into place that does not start, and reload.
    BrokenBuild,
    /// Put the next build into place, and reload.
    NextBuild,
    /// Have a client send as fast as it can.
    Flood,
}

/// Does it, and returns when it is done. It blocks. The error says why it cannot be done.
pub(crate) fn carry_out(
    act: Act,
    site: &Site,
    doors: Doors,
    status: &Value,
    events: &Events,
) -> Result<String, String> {
    let _one = matches!(act, Act::BrokenBuild | Act::NextBuild).then(|| {
        site.deploying
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    });
    let text = match act {
        Act::KillWorker => signal(status, Signal::KILL).map(|it| format!("{it} was killed"))?,
        Act::FreezeWorker => signal(status, Signal::STOP).map(|it| format!("{it} was frozen"))?,
        Act::BrokenBuild => broken_build(site, events)?,
        Act::NextBuild => {
            let build = site.next_build().map_err(|error| error.to_string())?;
            events.add(format!("build {build} is deployed: reload"));
            reload(&site.run_dir())?;
            format!("build {build} serves")
        }
        Act::Flood => {
            events.add("one client sends as fast as it can, for 5 seconds");
            let sent = flood(doors.flood)?;
            format!("the flood is over: {sent} messages, all from one connection")
        }
    };
    events.add(&*text);
    Ok(text)
}

fn broken_build(site: &Site, events: &Events) -> Result<String, String> {
    site.break_build().map_err(|error| error.to_string())?;
    events.add("a broken build is deployed: reload");
    let reloaded = reload(&site.run_dir());
    site.mend_build().map_err(|error| error.to_string())?;
    match reloaded {
        Ok(()) => Err("the engine has taken a broken build".to_owned()),
        Err(reason) => {
            // The mistake without the way to it, which the log has.
            let mistake = reason.split("stack traceback").next().unwrap_or_default();
            let mistake = site.without_folder(mistake);
            Ok(format!(
                "the reload was refused, and the old build serves on: {}",
                mistake.trim()
            ))
        }
    }
}

fn reload(run_dir: &Path) -> Result<(), String> {
    engine::reload(run_dir)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Sends a signal to the worker that serves most sessions. Returns its name.
fn signal(status: &Value, signal: Signal) -> Result<String, String> {
    let rows = status["workers"].as_array().into_iter().flatten();
    let ready = rows.filter(|row| row["state"] == "ready");
    let most = ready.max_by_key(|row| row["sessions"].as_u64());
    let most = most.ok_or("no worker is ready: wait a moment")?;
    let (slot, pid) = (&most["slot"], most["pid"].as_u64().unwrap_or_default());
    engine::send(pid, signal).map_err(|error| format!("worker {slot}: {error}"))?;
    Ok(format!(
        "worker {slot} (pid {pid}), with {} visitors,",
        most["sessions"]
    ))
}
