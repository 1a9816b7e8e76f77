//! Posts and tasks of the probe, and the jobs of its task workers.

use std::fs::File;
use std::time::Duration;

use moorline::Result;

use super::Probe;
use super::answers::{describe, every, list, milliseconds, outcome, told_by};
use super::order::Order;

/// The commands of a session about posts and tasks.
pub(super) const COMMANDS: &[&str] = &[
    "post",
    "post-fill",
    "post-all",
    "task-all",
    "task-many",
    "task-or-full",
    "task-fill",
    "task",
    "task-to",
    "task-within",
    "task-detach",
    "tasks",
    "task-big",
    "task-bytes",
];

/// Carries out one of them.
#[expect(clippy::too_many_lines, reason = "one arm for each command")]
pub(super) async fn obey(order: &mut Order<'_>) -> Result<Option<String>> {
    let Order {
        session,
        context,
        rest,
        ..
    } = *order;
    Ok(Some(match order.command {
        "post" => {
            let (slot, rest) = (order.word().parse()?, order.others());
            match context.try_post(slot, format!("{} {rest}", session.id())) {
                Ok(()) => return Ok(None),
                Err(error) => format!("{error:?}"),
            }
        }
        "post-fill" => {
            let (slot, size) = (order.word().parse()?, order.word().parse()?);
            let mut count = 0;
            loop {
                let text = format!("{} {count}{}", session.id(), "x".repeat(size));
                if let Err(error) = context.try_post(slot, text) {
                    break format!("{count} {error:?}");
                }
                count += 1;
            }
        }
        "post-all" => {
            let (slot, count): (_, u64) = (order.word().parse()?, order.word().parse()?);
            for number in 0..count {
                context
                    .post(slot, format!("{} {number}", session.id()))
                    .await?;
            }
            "posted".to_owned()
        }
        "task-all" => {
            let count: u64 = order.word().parse()?;
            let rest = order.others();
            for _ in 0..count {
                context.task(&rest).detach().await?;
            }
            "given out".to_owned()
        }
        "task-many" => {
            let count: usize = order.word().parse()?;
            let rest = order.others();
            let payloads = std::iter::repeat_n(&rest, count);
            let results = context.tasks(payloads, Duration::from_secs(30)).await;
            let done = results.into_iter().filter(std::result::Result::is_ok);
            done.count().to_string()
        }
        "task-or-full" => told_by(context.try_task(rest).await)?,
        "task-fill" => {
            let mut count = 0;
            loop {
                if let Err(error) = context.task(rest).try_detach() {
                    break format!("{count} {error:?}");
                }
                count += 1;
            }
        }
        "task" => match context.task(rest).await {
            Ok(result) => String::from_utf8(result)?,
            Err(error) => format!("{error:?}"),
        },
        "task-to" => {
            let slot = order.word().parse()?;
            let rest = order.others();
            told_by(context.task(rest).on(slot).await)?
        }
        "task-within" => {
            let time = milliseconds(order.word())?;
            let rest = order.others();
            told_by(context.task(rest).within(time).await)?
        }
        "task-detach" => match context.task(rest).detach().await {
            Ok(()) => "detached".to_owned(),
            Err(error) => format!("{error:?}"),
        },
        "tasks" => {
            let (time, rest) = rest.split_once(' ').ok_or("no tasks")?;
            let results = context.tasks(rest.split(", "), milliseconds(time)?).await;
            let results: Result<Vec<_>> = results.into_iter().map(told_by).collect();
            results?.join(", ")
        }
        "task-big" => {
            let size = order.word().parse()?;
            match context.task(vec![b'x'; size]).await {
                Ok(result) if result == vec![b'X'; size] => size.to_string(),
                Ok(result) => format!("{} bytes, and not the right ones", result.len()),
                Err(error) => format!("{error:?}"),
            }
        }
        "task-bytes" => match context.task(vec![b't'; order.word().parse()?]).await {
            Ok(result) => format!("{} bytes", result.len()),
            Err(error) => error.to_string(),
        },
        _ => return Err("no such command".into()),
    }))
}

/// Carries out a task; one that is no command comes back in capitals.
#[expect(clippy::too_many_lines, reason = "one arm for each command")]
pub(super) async fn carry_out(probe: &Probe, text: &str) -> Result<Vec<u8>> {
    let (command, rest) = text.split_once(' ').unwrap_or((text, ""));
    match command {
        "crash" => std::process::abort(),
        "crash-once" if File::create_new(rest).is_ok() => std::process::abort(),
        "crash-once" => {
            probe.note("survived");
            Ok(text.to_uppercase().into_bytes())
        }
        "exit" => std::process::exit(rest.parse()?),
        "post" => {
            let posted = probe.context.post(0, rest).await;
            Ok(format!("{posted:?}").into_bytes())
        }
        "task" => {
            let given = probe.context.task(rest).await;
            Ok(format!("{given:?}").into_bytes())
        }
        "join" | "leave" => {
            let (id, name) = rest.split_once(' ').ok_or("no id")?;
            let context = &probe.context;
            let (session, group) = (context.session(id.parse()?), context.group(name));
            let done = match command {
                "join" => group.join(&session),
                _ => group.leave(&session),
            };
            Ok(outcome(done).into_bytes())
        }
        "say" => {
            let (name, text) = rest.split_once(' ').ok_or("no text")?;
            let said = probe.context.group(name).send(text).await;
            Ok(outcome(said).into_bytes())
        }
        "members-count" => {
            let members = probe.context.group(rest).members().await?;
            Ok(members.len().to_string().into_bytes())
        }
        "list" => Ok(list(&probe.context).await?.into_bytes()),
        "info" => {
            let info = probe.context.session(rest.parse()?).info().await?;
            Ok(describe(&info).into_bytes())
        }
        "fail" => Err("asked to fail".into()),
        "tell" => {
            let (id, rest) = rest.split_once(' ').ok_or("no id")?;
            let told = probe.context.session(id.parse()?).send(rest).await;
            Ok(outcome(told).into_bytes())
        }
        "tell-until-refused" => {
            let session = probe.context.session(rest.parse()?);
            loop {
                if let Err(error) = session.send("are you there").await {
                    return Ok(format!("{error:?}").into_bytes());
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        "end" => Ok(outcome(probe.context.session(rest.parse()?).close()).into_bytes()),
        "file" => {
            let (id, path) = rest.split_once(' ').ok_or("no id")?;
            probe
                .context
                .session(id.parse()?)
                .send_file(path, ..)
                .await?;
            Ok(b"ok".to_vec())
        }
        "pid" => Ok(std::process::id().to_string().into_bytes()),
        "slot" => Ok(probe.context.slot().to_string().into_bytes()),
        "note" => {
            probe.note(rest);
            Ok(Vec::new())
        }
        "every" => Ok(every(&probe.context, milliseconds(rest)?).await),
        "block" => {
            std::thread::sleep(milliseconds(rest)?);
            Ok(b"blocked".to_vec())
        }
        _ => Ok(text.to_uppercase().into_bytes()),
    }
}
