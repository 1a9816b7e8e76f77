//! What the probe asks of other nodes, and what they may ask of it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use moorline::{CallError, NodeChange, NodeHandle, Result, ServiceCall};
use tokio::task::JoinSet;

use super::Probe;
use super::answers::milliseconds;
use super::order::Order;

/// Calls that a worker handles at a time.
const MOST_CALLS: usize = 1024;

/// The commands of a session about other nodes.
pub(super) const COMMANDS: &[&str] = &[
    "call",
    "call-on",
    "call-within",
    "call-size",
    "call-drop",
    "call-many",
    "call-flood",
    "node-changes",
    "node-post",
    "node-post-all",
    "node-post-fill",
    "node-task",
    "node-task-on",
    "node-task-within",
];

/// Carries out one of them: its first argument is the name of a node.
pub(super) async fn obey(order: &mut Order<'_>) -> Result<Option<String>> {
    if order.command == "node-changes" {
        let (mut changes, session) = (order.context.node_changes(), order.session.clone());
        tokio::task::spawn_local(async move {
            while session.send(describe(&changes.next().await)).await.is_ok() {}
        });
        return Ok(None);
    }
    if order.command.starts_with("node-") {
        return post_or_task(order).await.map(Some);
    }
    let node = order.context.on(order.word());
    let (slot, within) = match order.command {
        "call-on" => (Some(order.word().parse()?), None),
        "call-within" => (None, Some(milliseconds(order.word())?)),
        _ => (None, None),
    };
    let count: usize = match order.command {
        "call-size" | "call-drop" | "call-many" | "call-flood" => order.word().parse()?,
        _ => 0,
    };
    let (service, text) = (order.word(), order.others());
    Ok(Some(match order.command {
        "call-size" => match node.call(service, vec![b'x'; count]).await {
            Ok(answer) => answer.len().to_string(),
            Err(error) => format!("{error:?}"),
        },
        // Given up at once, again and again.
        "call-drop" => {
            for _ in 0..count {
                let call = node.call(service, &text).within(Duration::from_secs(60));
                let _ = tokio::time::timeout(Duration::ZERO, call.into_future()).await;
            }
            "dropped".to_owned()
        }
        // One after another.
        "call-many" => {
            for _ in 0..count {
                node.call(service, &text).await?;
            }
            count.to_string()
        }
        "call-flood" => flood(order, &node, count).await?,
        _ => {
            let mut call = node.call(service, &text);
            if let Some(slot) = slot {
                call = call.on(slot);
            }
            if let Some(within) = within {
                call = call.within(within);
            }
            told(call.await)
        }
    }))
}

/// Calls that wait, all at once. Says so when all but those that may wait have ended, and returns how many ended in which way.
async fn flood(order: &Order<'_>, node: &NodeHandle, count: usize) -> Result<String> {
    let mut calls = JoinSet::new();
    for _ in 0..count {
        let call = node.call("hold", "").on(0).within(Duration::from_secs(60));
        calls.spawn_local(call.into_future());
    }
    let mut ends = BTreeMap::<String, usize>::new();
    while let Some(ended) = calls.join_next().await {
        *ends.entry(told(ended?)).or_default() += 1;
        if calls.len() == MOST_CALLS {
            order.session.send("full").await?;
        }
    }
    Ok(format!("{ends:?}"))
}

fn describe(change: &NodeChange) -> String {
    match change {
        NodeChange::Joined(node) => format!("joined {}", node.name),
        NodeChange::Lost(node) => format!("lost {}", node.name),
        change => format!("{change:?}"),
    }
}

async fn post_or_task(order: &mut Order<'_>) -> Result<String> {
    let node = order.context.on(order.word());
    let id = order.session.id();
    Ok(match order.command {
        "node-post" => {
            let slot = order.word().parse()?;
            ended(node.post(slot, format!("{id} {}", order.others())).await)
        }
        "node-post-all" => {
            let (slot, count): (_, u64) = (order.word().parse()?, order.word().parse()?);
            for number in 0..count {
                node.post(slot, format!("{id} {number}")).await?;
            }
            "posted".to_owned()
        }
        "node-post-fill" => {
            let slot = order.word().parse()?;
            let mut count = 0;
            loop {
                if let Err(error) = node.try_post(slot, format!("{id} {count}")) {
                    break format!("{count} {error:?}");
                }
                count += 1;
            }
        }
        "node-task" => told(node.task(order.others()).await),
        "node-task-on" => {
            let slot = order.word().parse()?;
            told(node.task(order.others()).on(slot).await)
        }
        "node-task-within" => {
            let within = milliseconds(order.word())?;
            told(node.task(order.others()).within(within).await)
        }
        _ => return Err("no such command".into()),
    })
}

fn told<E: Debug>(result: std::result::Result<Vec<u8>, E>) -> String {
    match result {
        Ok(answer) => String::from_utf8_lossy(&answer).into_owned(),
        Err(error) => format!("{error:?}"),
    }
}

fn ended<E: Debug>(result: std::result::Result<(), E>) -> String {
    result.map_or_else(|error| format!("{error:?}"), |()| "ok".to_owned())
}

/// Answers a call.
pub(super) async fn answer(probe: &Probe, call: ServiceCall) -> Result<Vec<u8>> {
    let text = String::from_utf8_lossy(&call).into_owned();
    Ok(match call.service() {
        "echo" => call.into_vec(),
        "slot" => probe.context.slot().to_string().into_bytes(),
        "from" => call.node().to_string().into_bytes(),
        "size" => vec![b'x'; text.parse()?],
        "sleep" => {
            probe.note("sleeps");
            tokio::time::sleep(milliseconds(&text)?).await;
            b"slept".to_vec()
        }
        "hold" => {
            probe.held.notified().await;
            b"released".to_vec()
        }
        "fail" => return Err("asked to fail".into()),
        "panic" => panic!("asked to panic"),
        "exit" => std::process::exit(1),
        _ => return Err(CallError::NoSuchService.into()),
    })
}
