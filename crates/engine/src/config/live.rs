//! What a reload can change, and what only a restart can.

use super::{Config, Engine, Listener, Log, Tasks, Workers};

/// Whether an engine that runs with `old` can go on with `new`: everything of `[app]`, `[workers]` (but what
/// `dispatch` means to listeners), `[tasks]` and `[[helpers]]`, the log's level, and what `tls` of a listener says.
///
/// # Errors
/// One message for each key that needs a restart, naming it.
pub fn live_change(old: &Config, new: &Config) -> Result<(), Vec<String>> {
    let mut fixed = Fixed::default();
    // Taken apart by name, so that a key added later must be judged here.
    let Config {
        name,
        engine,
        workers,
        tasks,
        helpers: _,
        listeners,
        app: _,
    } = old;
    let Tasks {
        count: _,
        attempts: _,
        max_requests: _,
        stall_after: _,
    } = tasks;
    let Workers {
        count: _,
        max_wait: _,
        start_timeout: _,
        dispatch: _,
        max_requests: _,
        stall_after: _,
        cpu_affinity,
    } = workers;
    fixed.compare("the configuration's name", name, &new.name);
    // The gateway's loops stay where they are.
    fixed.compare(
        "`workers.cpu_affinity`",
        cpu_affinity,
        &new.workers.cpu_affinity,
    );
    fixed.engine(engine, &new.engine);
    fixed.listeners(listeners, new, workers);
    if fixed.0.is_empty() {
        Ok(())
    } else {
        Err(fixed.0)
    }
}

/// The differences found so far.
#[derive(Default)]
struct Fixed(Vec<String>);

impl Fixed {
    fn push(&mut self, what: String) {
        let message = format!("{what}: this needs a restart of the engine");
        // One default may stand behind many listeners.
        if !self.0.contains(&message) {
            self.0.push(message);
        }
    }

    fn compare<T: PartialEq>(&mut self, key: &str, old: &T, new: &T) {
        if old != new {
            self.push(format!("{key} has changed"));
        }
    }

    fn engine(&mut self, old: &Engine, new: &Engine) {
        let Engine {
            run_dir,
            gateway_loops,
            ring_memory,
            memory_limit,
            user,
            group,
            gateway_user,
            chroot,
            log,
            hooks: _,
        } = old;
        self.compare("`engine.run_dir`", run_dir, &new.run_dir);
        self.compare("`engine.gateway_loops`", gateway_loops, &new.gateway_loops);
        self.compare("`engine.ring_memory`", ring_memory, &new.ring_memory);
        self.compare("`engine.memory_limit`", memory_limit, &new.memory_limit);
        self.compare("`engine.user`", user, &new.user);
        self.compare("`engine.group`", group, &new.group);
        self.compare("`engine.gateway_user`", gateway_user, &new.gateway_user);
        self.compare("`engine.chroot`", chroot, &new.chroot);
        let Log {
            format,
            file,
            level: _,
        } = log;
        self.compare("`engine.log.format`", format, &new.log.format);
        self.compare("`engine.log.file`", file, &new.log.file);
    }

    fn listeners(&mut self, old: &[Listener], new: &Config, old_workers: &Workers) {
        for listener in old
            .iter()
            .filter(|old| !new.listeners.iter().any(|new| new.name == old.name))
        {
            self.push(format!("the listener {:?} is gone", listener.name));
        }
        for listener in new
            .listeners
            .iter()
            .filter(|new| !old.iter().any(|old| old.name == new.name))
        {
            self.push(format!("the listener {:?} is new", listener.name));
        }
        let pairs = || {
            old.iter().filter_map(|old| {
                Some((old, new.listeners.iter().find(|new| new.name == old.name)?))
            })
        };
        let order = |listeners: &[Listener], others: &[Listener]| -> Vec<String> {
            let names = listeners.iter().map(|listener| listener.name.clone());
            names
                .filter(|name| others.iter().any(|other| other.name == *name))
                .collect()
        };
        // Records name a listener by its place.
        self.compare(
            "the order of the listeners",
            &order(old, &new.listeners),
            &order(&new.listeners, old),
        );
        for (old, new_listener) in pairs() {
            let from_workers = old.dispatch == old_workers.dispatch
                && new_listener.dispatch == new.workers.dispatch;
            self.listener(old, new_listener, from_workers);
        }
    }

    fn listener(&mut self, old: &Listener, new: &Listener, dispatch_from_workers: bool) {
        let Listener {
            name,
            address,
            // What it shows is read afresh by each reload; whether it shows anything is fixed.
            tls,
            framing,
            websocket,
            static_folder,
            idle_timeout,
            receive_timeout,
            send_timeout,
            handshake_timeout,
            min_receive_rate,
            high_watermark,
            low_watermark,
            hard_limit,
            on_crash,
            attempts,
            max_sessions,
            max_sessions_per_address,
            accept_rate,
            deliver_after_close,
            dispatch,
        } = old;
        let key = |key: &str| format!("`{key}` of the listener {name:?}");
        // With `tls` or without it the same address has another name.
        if tls.is_some() == new.tls.is_some() {
            self.compare(&key("address"), address, &new.address);
        }
        self.compare(&key("tls"), &tls.is_some(), &new.tls.is_some());
        // `max_message` is part of the framing, and the key a WebSocket listener's user knows.
        let framing_key = if websocket.is_some() && new.websocket.is_some() {
            "max_message"
        } else {
            "framing"
        };
        self.compare(&key(framing_key), framing, &new.framing);
        self.compare(&key("websocket"), websocket, &new.websocket);
        self.compare(&key("static"), static_folder, &new.static_folder);
        self.compare(&key("idle_timeout"), idle_timeout, &new.idle_timeout);
        self.compare(
            &key("receive_timeout"),
            receive_timeout,
            &new.receive_timeout,
        );
        self.compare(&key("send_timeout"), send_timeout, &new.send_timeout);
        self.compare(
            &key("handshake_timeout"),
            handshake_timeout,
            &new.handshake_timeout,
        );
        self.compare(
            &key("min_receive_rate"),
            min_receive_rate,
            &new.min_receive_rate,
        );
        self.compare(
            &key("max_sessions_per_address"),
            max_sessions_per_address,
            &new.max_sessions_per_address,
        );
        self.compare(&key("accept_rate"), accept_rate, &new.accept_rate);
        self.compare(&key("high_watermark"), high_watermark, &new.high_watermark);
        self.compare(&key("low_watermark"), low_watermark, &new.low_watermark);
        self.compare(&key("hard_limit"), hard_limit, &new.hard_limit);
        self.compare(&key("on_crash"), on_crash, &new.on_crash);
        self.compare(&key("attempts"), attempts, &new.attempts);
        self.compare(&key("max_sessions"), max_sessions, &new.max_sessions);
        self.compare(
            &key("deliver_after_close"),
            deliver_after_close,
            &new.deliver_after_close,
        );
        let dispatch_key = if dispatch_from_workers {
            "`workers.dispatch`".to_owned()
        } else {
            key("dispatch")
        };
        self.compare(&dispatch_key, dispatch, &new.dispatch);
    }
}
