//! A cluster of probes.

use moorline_tests::{Client, Engine, LENGTH_LISTENER, Nats, Site, Wire, eventually};

/// A node's configuration.
pub(crate) fn config(nats: &Nats, node: &str, number: u16) -> String {
    format!(
        "[workers]\ncount = 2\n{}{LENGTH_LISTENER}\n\
         [app]\njournal = \"{{folder}}/journal\"\n",
        nats.cluster(node, number)
    )
}

/// Starts a node.
#[track_caller]
pub(crate) fn node(nats: &Nats, node: &str, number: u16) -> Engine {
    Site::new("probe", &config(nats, node, number)).start()
}

/// Three nodes that know each other.
#[track_caller]
pub(crate) fn three(nats: &Nats) -> [Engine; 3] {
    let nodes = [("a", 1), ("b", 2), ("c", 3)].map(|(name, number)| node(nats, name, number));
    for (engine, others) in nodes.iter().zip(["2=b 3=c", "1=a 3=c", "1=a 2=b"]) {
        knows(engine, others);
    }
    nodes
}

/// Waits until each worker of a node knows these others.
#[track_caller]
pub(crate) fn knows(engine: &Engine, others: &str) {
    for client in &mut on_each_worker(engine) {
        eventually(&format!("the node knows {others}"), || {
            client.ask("nodes") == others
        });
    }
}

/// A session with each worker.
pub(crate) fn on_each_worker(engine: &Engine) -> [Client; 2] {
    let mut clients: Vec<Option<Client>> = vec![None, None];
    // A session goes to the worker with the fewest, so those of a slot that has one stay until the other has one.
    let mut others = Vec::new();
    eventually("each worker has a session", || {
        let mut client = Client::connect(engine, 0, Wire::LENGTH);
        let slot: usize = client.ask("slot").parse().expect("a slot");
        others.extend(clients[slot].replace(client));
        clients.iter().all(Option::is_some)
    });
    [0, 1].map(|slot| clients[slot].take().expect("it is there"))
}

/// A session, and its id.
pub(crate) fn session(engine: &Engine) -> (Client, String) {
    let mut client = Client::connect(engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    (client, id)
}
