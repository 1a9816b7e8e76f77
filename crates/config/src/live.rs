//! What a reload can change, and what needs a restart.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cluster, Config, Engine, Listener, Workers};

/// A listener is named by its place in 16 bits of a record's header.
const MOST_PLACES: usize = u16::MAX as usize;

/// The configuration that an engine with `present` has after a reload of `new`.
///
/// Each listener keeps its place, even if the file does not have it any more: then it is retired. A listener with a new
/// address or framing takes a new place, because its sessions keep what they began with. `vacant` places are retired
/// and without sessions: any listener may take them.
///
/// # Errors
/// One message for each key that needs a restart, naming it.
pub fn live_change(
    present: &Config,
    new: Config,
    vacant: &BTreeSet<u16>,
) -> Result<Config, Vec<String>> {
    let mut refused = refusals(present, &new);
    let listeners = merge(&present.listeners, new.listeners, vacant);
    if listeners.len() > MOST_PLACES {
        refused.push(format!(
            "`[[listen]]`: with those that were removed there are over {MOST_PLACES} listeners: this needs a restart of the engine"
        ));
    }
    match refused.is_empty() {
        true => Ok(Config { listeners, ..new }),
        false => Err(refused),
    }
}

/// The configuration of the task workers when only they are reloaded: `[tasks]` and `[app]` of the file, and everything
/// else unchanged until the whole engine is reloaded.
///
/// # Errors
/// As [`live_change`].
pub fn tasks_change(present: &Config, new: Config) -> Result<Config, Vec<String>> {
    let refused = refusals(present, &new);
    match refused.is_empty() {
        true => Ok(Config {
            tasks: new.tasks,
            app: new.app,
            ..present.clone()
        }),
        false => Err(refused),
    }
}

/// The changes that need a restart.
fn refusals(old: &Config, new: &Config) -> Vec<String> {
    // Destructured by name, so that a key added later must be judged here.
    let Config {
        name,
        engine,
        workers,
        tasks: _,
        helpers: _,
        cluster,
        listeners: _,
        // Relayed connections keep their peers, and upstreams their state, by name.
        upstreams: _,
        // So do the counts of limits.
        limits: _,
        access_logs: _,
        maps: _,
        app: _,
    } = old;
    let mut refused = Refused::default();
    refused.compare("the configuration's name", name, &new.name);
    refused.compare_engines(engine, &new.engine);
    refused.compare_workers(workers, &new.workers);
    refused.compare_clusters(cluster.as_ref(), new.cluster.as_ref());
    refused.0
}

#[derive(Default)]
struct Refused(Vec<String>);

impl Refused {
    fn compare_engines(&mut self, old: &Engine, new: &Engine) {
        let Engine {
            run_dir,
            gateway_loops,
            ring_memory,
            memory_limit: _,
            history_memory: _,
            history_timeout: _,
            user,
            group,
            gateway_user,
            stop_over: _,
            stop_code: _,
            kill_after: _,
            chroot,
            log: _,
            hooks: _,
        } = old;
        self.compare("`engine.run_dir`", run_dir, &new.run_dir);
        self.compare("`engine.gateway_loops`", gateway_loops, &new.gateway_loops);
        self.compare("`engine.ring_memory`", ring_memory, &new.ring_memory);
        self.compare("`engine.user`", user, &new.user);
        self.compare("`engine.group`", group, &new.group);
        self.compare("`engine.gateway_user`", gateway_user, &new.gateway_user);
        self.compare("`engine.chroot`", chroot, &new.chroot);
    }

    /// The servers and what is shown to them can change: each new worker connects anew.
    fn compare_clusters(&mut self, old: Option<&Cluster>, new: Option<&Cluster>) {
        let (Some(old), Some(new)) = (old, new) else {
            self.compare("`[cluster]`", &old.is_some(), &new.is_some());
            return;
        };
        let Cluster {
            servers: _,
            node,
            number,
            subject,
            login: _,
            tls: _,
        } = old;
        self.compare("`cluster.node`", node, &new.node);
        self.compare("`cluster.number`", number, &new.number);
        self.compare("`cluster.subject`", subject, &new.subject);
    }

    fn compare_workers(&mut self, old: &Workers, new: &Workers) {
        let Workers {
            count: _,
            max_wait: _,
            start_timeout: _,
            dispatch: _,
            max_requests: _,
            stall_after: _,
            wait_after: _,
            kill_after: _,
            // The gateway's loops stay where they are.
            cpu_affinity,
            lua: _,
        } = old;
        self.compare("`workers.cpu_affinity`", cpu_affinity, &new.cpu_affinity);
    }

    fn compare<T: PartialEq>(&mut self, key: &str, old: &T, new: &T) {
        if old != new {
            self.0.push(format!(
                "{key} has changed: this needs a restart of the engine"
            ));
        }
    }
}

/// Gives each listener of the file its place among the present ones.
fn merge(present: &[Listener], new: Vec<Listener>, vacant: &BTreeSet<u16>) -> Vec<Listener> {
    let retire = |listener: &Listener| Listener {
        is_retired: true,
        ..listener.clone()
    };
    let mut merged: Vec<_> = present.iter().map(retire).collect();
    let mut unplaced = Vec::new();
    let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, listener) in present.iter().enumerate() {
        places.entry(&listener.name).or_default().push(at);
    }
    for listener in new {
        let named = places.get(&*listener.name).map_or(&[][..], |it| it);
        // Names are unique in a file, so no two ask for the same place.
        match place(present, named, &listener, vacant) {
            Some(at) => merged[at] = listener,
            None => unplaced.push(listener),
        }
    }
    // Sockets that no listener of the same name needs are free for others.
    let is_free = |at: &usize| present[*at].is_retired && merged[*at].is_retired;
    let vacant = vacant.iter().map(|at| usize::from(*at));
    let free: Vec<_> = vacant
        .filter(|at| *at < present.len() && is_free(at))
        .collect();
    let mut free = free.into_iter();
    for listener in unplaced {
        match free.next() {
            Some(at) => merged[at] = listener,
            None => merged.push(listener),
        }
    }
    merged
}

/// The place that a listener of the file had, or may have again: one of those of its name.
fn place(
    present: &[Listener],
    named: &[usize],
    listener: &Listener,
    vacant: &BTreeSet<u16>,
) -> Option<usize> {
    let named = || named.iter().map(|at| (*at, &present[*at]));
    let continued = |is_retired| {
        named().find(|(_, other)| other.is_retired == is_retired && listener.continues(other))
    };
    let is_vacant = |at: usize| u16::try_from(at).is_ok_and(|at| vacant.contains(&at));
    continued(false)
        .or_else(|| continued(true))
        .or_else(|| named().find(|(at, other)| other.is_retired && is_vacant(*at)))
        .map(|(at, _)| at)
}

impl Listener {
    /// Whether sessions of the other are also sessions of this one: everything that holds for their whole life is the
    /// same.
    pub fn continues(&self, other: &Self) -> bool {
        self.name == other.name
            && self.host == other.host
            && self.address == other.address
            && self.framing == other.framing
            && self.is_http() == other.is_http()
            && self.is_relay() == other.is_relay()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load_text;

    fn config(text: &str) -> Config {
        load_text(text, std::path::Path::new("/a.toml"))
            .unwrap()
            .config
    }

    fn listen(listeners: &[(&str, &str)]) -> Config {
        let sections = listeners.iter().map(|(name, rest)| {
            format!("[[listen]]\nname = \"{name}\"\naddress = \"tcp://127.0.0.1:0\"\n{rest}\n")
        });
        config(&sections.collect::<String>())
    }

    /// Names by place; a `-` before those that are retired.
    fn places(config: &Config) -> Vec<String> {
        let shown = |listener: &Listener| match listener.is_retired {
            true => format!("-{}", listener.name),
            false => listener.name.clone(),
        };
        config.listeners.iter().map(shown).collect()
    }

    fn change(present: &Config, new: &Config, vacant: &[u16]) -> Config {
        live_change(present, new.clone(), &vacant.iter().copied().collect()).unwrap()
    }

    const LINE: &str = "framing = { kind = \"line\" }";

    #[test]
    fn a_listener_keeps_its_place_whatever_is_written_around_it() {
        let present = listen(&[("a", ""), ("b", ""), ("c", "")]);
        let merged = change(
            &present,
            &listen(&[("d", ""), ("c", "idle_timeout = \"1s\""), ("a", "")]),
            &[],
        );
        assert_eq!(places(&merged), ["a", "-b", "c", "d"]);
        assert!(merged.listeners[2].idle_timeout.is_some());
        let merged = change(&merged, &listen(&[("b", ""), ("e", "")]), &[]);
        assert_eq!(places(&merged), ["-a", "b", "-c", "-d", "e"]);
    }

    #[test]
    fn sessions_of_a_framing_that_has_changed_keep_theirs_in_a_place_of_their_own() {
        let present = listen(&[("a", ""), ("b", "")]);
        let merged = change(&present, &listen(&[("a", LINE), ("b", "")]), &[]);
        assert_eq!(places(&merged), ["-a", "b", "a"]);
        assert_eq!(merged.listeners[0].framing, present.listeners[0].framing);
        // And back again: the place is still there, and so may its sessions be.
        let merged = change(&merged, &present, &[]);
        assert_eq!(places(&merged), ["a", "b", "-a"]);
    }

    #[test]
    fn only_a_vacant_place_is_filled_anew_and_by_its_own_name_before_others() {
        let present = change(&listen(&[("a", ""), ("b", "")]), &listen(&[("b", "")]), &[]);
        assert_eq!(places(&present), ["-a", "b"]);
        let wanted = listen(&[("c", ""), ("a", LINE), ("b", ""), ("d", "")]);
        let occupied = change(&present, &wanted, &[]);
        assert_eq!(places(&occupied), ["-a", "b", "c", "a", "d"]);
        let vacant = change(&present, &wanted, &[0]);
        assert_eq!(places(&vacant), ["a", "b", "c", "d"]);
        assert_eq!(vacant.listeners[0].framing, wanted.listeners[1].framing);
        // A listener of another name fills it, and the next one does not.
        let others = listen(&[("c", LINE), ("b", ""), ("d", "")]);
        let filled = change(&present, &others, &[0]);
        assert_eq!(places(&filled), ["c", "b", "d"]);
        // A listener that accepts is never vacant, even if an old report says so.
        let stale = change(&present, &listen(&[("b", LINE)]), &[1, 7]);
        assert_eq!(places(&stale), ["-a", "-b", "b"]);
    }

    #[test]
    fn places_run_out_and_the_refusal_says_so() {
        let mut present = listen(&[("a", "")]);
        let spent = Listener {
            is_retired: true,
            name: "spent".into(),
            ..present.listeners[0].clone()
        };
        present.listeners.resize(MOST_PLACES, spent);
        let none = BTreeSet::new();
        let same = live_change(&present, listen(&[("a", "")]), &none).unwrap();
        assert_eq!(same.listeners.len(), MOST_PLACES);
        let refused = live_change(&present, listen(&[("a", ""), ("b", "")]), &none).unwrap_err();
        assert!(refused[0].contains("`[[listen]]`"), "{refused:?}");
    }

    #[test]
    fn a_reload_of_task_workers_takes_their_part_of_the_file_alone() {
        let present = listen(&[("a", "")]);
        let mut new = listen(&[("b", "")]);
        new.tasks.count = 4;
        new.app = "x = 1".into();
        new.workers.count += 1;
        let expected = Config {
            tasks: new.tasks.clone(),
            app: new.app.clone(),
            ..present.clone()
        };
        assert_eq!(tasks_change(&present, new.clone()).unwrap(), expected);
        new.engine.ring_memory *= 2;
        assert_eq!(
            tasks_change(&present, new).unwrap_err(),
            ["`engine.ring_memory` has changed: this needs a restart of the engine"]
        );
    }
}
