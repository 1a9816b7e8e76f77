//! What a worker sends before it serves, and when it leads.

use std::rc::Rc;
use std::time::Duration;

use moorline::{Context, Result, SessionId};

use super::Probe;

const BEAT: Duration = Duration::from_millis(20);

/// Says all that can be said in `start`, to this session and to the group `all`.
pub(super) async fn speak_in_start(probe: &Probe, context: &Context, id: SessionId) -> Result {
    let (session, group) = (context.session(id), context.group("all"));
    session.push("start pushes")?;
    session.send("start sends").await?;
    group.send("start broadcasts").await?;
    context.post(0, format!("{id} start posts")).await?;
    let task = context.task("sleep 1").await;
    probe.note(format_args!("task in start {task:?}"));
    let asked = (
        context.status().await,
        context.stop().await,
        context.reload().await,
    );
    probe.note(format_args!(
        "asked in start {asked:?} {:?}",
        context.recycle()
    ));
    let info = session.info().await.map(|info| info.id);
    probe.note(format_args!("info in start {info:?}"));
    context.task("sleep 1").detach().await?;

    let beat = async |context: Context| {
        let _ = context.group("all").send("timer beats").await;
    };
    context.every(BEAT, beat).detach();
    tokio::task::spawn_local(async move {
        loop {
            let _ = group.send("task beats").await;
            tokio::time::sleep(BEAT).await;
        }
    });
    Ok(())
}

/// Does what an order says that is for this kind of process: `worker harm ID PEER`, for instance.
pub(super) async fn obey_in_start(
    probe: &Probe,
    context: &Context,
    kind: &str,
    order: &str,
) -> Result {
    let mut words = order.split(' ');
    let mut word = || words.next().unwrap_or_default();
    if word() != kind {
        return Ok(());
    }
    let what = word();
    let session = context.session(word().parse()?);
    match what {
        "harm" => {
            context.group("new").join(&session)?;
            context.group("new").send("start broadcasts").await?;
            context.send_to("udp", word().parse()?, b"start sends")?;
            session.close()?;
        }
        "overflow" => {
            let chunk = [b'o'; 16 * 1024];
            let mut count = 0;
            let error = loop {
                match session.send(chunk).await {
                    Ok(()) => count += 1,
                    Err(error) => break error,
                }
            };
            probe.note(format_args!("overflow {error:?} after {count}"));
        }
        "file" => {
            let sent = session.send_file(word(), ..).await;
            probe.note(format_args!("file in start {sent:?}"));
        }
        "speak" => {
            session.push("start pushes")?;
            context.group("all").send("start broadcasts").await?;
        }
        _ => return Err("no such order".into()),
    }
    Ok(())
}

/// Notes when this process leads, and when not any more.
pub(super) async fn note_leadership(probe: Rc<Probe>, context: Context) {
    let pid = std::process::id();
    loop {
        context.until_leader().await;
        probe.note(format_args!("leads {pid}"));
        context.until_not_leader().await;
        probe.note(format_args!("resigns {pid}"));
    }
}
