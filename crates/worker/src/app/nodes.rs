//! The nodes of the cluster.

use std::collections::BTreeMap;
use std::future::pending;
use std::rc::Rc;

use tokio::sync::watch;

use crate::Core;
use crate::app::Context;

pub use moorline_cluster::{Node, NodeChange};

impl Context {
    /// The other nodes that are there, by number. Empty without a `[cluster]`, and while NATS has not been there yet.
    ///
    /// A node is there from its first sign of life until it says goodbye, or was not heard for three seconds. While this node
    /// cannot reach NATS, the list stays as it was.
    pub fn nodes(&self) -> Vec<Node> {
        let neighbours = self.core().neighbours.get();
        neighbours.map_or_else(Vec::new, |it| it.link().nodes())
    }

    /// What changes among the other nodes, from now on. Those that are there now are the first to join.
    ///
    /// ```no_run
    /// use moorline_worker::app::{Context, NodeChange};
    ///
    /// async fn follow(context: &Context) {
    ///     let mut changes = context.node_changes();
    ///     loop {
    ///         match changes.next().await {
    ///             NodeChange::Joined(node) => tracing::info!("{} is there", node.name),
    ///             NodeChange::Lost(node) => tracing::info!("{} is gone", node.name),
    ///             _ => {}
    ///         }
    ///     }
    /// }
    /// ```
    pub fn node_changes(&self) -> NodeChanges {
        let neighbours = self.core().neighbours.get();
        NodeChanges {
            core: self.core().clone(),
            known: BTreeMap::new(),
            changed: neighbours.map(|it| it.changes()),
        }
    }

    /// This node, as others see it; `None` without a `[cluster]`.
    pub fn node(&self) -> Option<Node> {
        Some(self.core().neighbours.get()?.link().own().clone())
    }
}

/// What changes among the other nodes: see [`Context::node_changes`].
///
/// It holds what its reader knows and no queue: a reader that is late gets the difference to what is true then. A node that was lost and is
/// back meanwhile is told only if its engine is another one, first as lost and then as joined.
pub struct NodeChanges {
    core: Rc<Core>,
    known: BTreeMap<u16, Node>,
    /// `None` without a cluster.
    changed: Option<watch::Receiver<()>>,
}

impl NodeChanges {
    /// The next change. Without a `[cluster]` there is none, and it waits for ever. Cancel-safe.
    pub async fn next(&mut self) -> NodeChange {
        loop {
            if let Some(changed) = &mut self.changed {
                changed.mark_unchanged();
            }
            let nodes = Context::new(self.core.clone()).nodes();
            if let Some(change) = difference(&mut self.known, nodes) {
                return change;
            }
            let is_over = match &mut self.changed {
                Some(changed) => changed.changed().await.is_err(),
                None => true,
            };
            if is_over {
                pending::<()>().await;
            }
        }
    }
}

/// One change from what is known to these nodes, losses first. It is known then.
fn difference(known: &mut BTreeMap<u16, Node>, nodes: Vec<Node>) -> Option<NodeChange> {
    let is_lost = |old: &&Node| !nodes.contains(old);
    if let Some(number) = known.values().find(is_lost).map(|lost| lost.number) {
        return known.remove(&number).map(NodeChange::Lost);
    }
    let is_new = |node: &Node| !known.contains_key(&node.number);
    let joined = nodes.into_iter().find(is_new)?;
    known.insert(joined.number, joined.clone());
    Some(NodeChange::Joined(joined))
}

impl std::fmt::Debug for NodeChanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeChanges")
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}
