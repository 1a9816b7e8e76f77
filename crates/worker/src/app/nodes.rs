//! The nodes of the cluster.

use crate::app::Context;

pub use moorline_cluster::Node;

impl Context {
    /// The other nodes that are there, by number. Empty without a `[cluster]`, and while NATS has not been there yet.
    ///
    /// A node is there from its first sign of life until it says goodbye, or was not heard for three seconds. While this node
    /// cannot reach NATS, the list stays as it was.
    pub fn nodes(&self) -> Vec<Node> {
        let neighbours = self.core().neighbours.get();
        neighbours.map_or_else(Vec::new, |it| it.link().nodes())
    }

    /// This node, as others see it; `None` without a `[cluster]`.
    pub fn node(&self) -> Option<Node> {
        Some(self.core().neighbours.get()?.link().own().clone())
    }
}
