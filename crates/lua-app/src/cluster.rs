//! Calls to services in Lua of other nodes, for `skynet.cluster`.

use std::time::Duration;

use moorline_lua::Plain;
use moorline_worker::app::{CallError, Context};

/// The name that nodes call each other's services in Lua by.
pub(crate) const CLUSTER: &str = "skynet.cluster";

/// Calls a worker of a node. What has no answer has a reason: a word, if another worker may have one.
pub(crate) async fn call(
    context: &Context,
    node: Vec<u8>,
    slot: i64,
    (request, within): (Vec<u8>, Duration),
) -> Result<Vec<Plain>, String> {
    let node = String::from_utf8_lossy(&node);
    let Ok(slot) = u16::try_from(slot) else {
        return Err("NoSuchWorker".to_owned());
    };
    let node = context.on(node);
    let call = node.call(CLUSTER, request).on(slot).within(within);
    match call.await {
        Ok(answer) => Ok(vec![Plain::Flag(true), Plain::Text(answer)]),
        Err(error @ (CallError::NoSuchService | CallError::NoSuchWorker | CallError::Timeout)) => {
            Err(format!("{error:?}"))
        }
        Err(error) => Err(error.to_string()),
    }
}
