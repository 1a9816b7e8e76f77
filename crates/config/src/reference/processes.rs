//! The keys of the file, the engine and its processes.

use super::Default::{Required, Value, Words};
use super::Reload::{Restart, Yes};
use super::{SectionReference, key};

pub(super) const FILE: SectionReference = SectionReference {
    title: "",
    heading: "The file",
    about: "The tables of the file. Only `[[listen]]` is required.",
    keys: &[
        key(
            "engine",
            "table",
            Words("defaults"),
            "[engine]",
            Yes,
            "The engine as a whole.",
        ),
        key(
            "workers",
            "table",
            Words("defaults"),
            "[workers]",
            Yes,
            "The processes that run the app.",
        ),
        key(
            "tasks",
            "table",
            Words("defaults"),
            "[tasks]",
            Yes,
            "The processes that run its slow jobs.",
        ),
        key(
            "helpers",
            "list of tables",
            Words("none"),
            "[[helpers]]",
            Yes,
            "Commands that the engine keeps alive.",
        ),
        key(
            "admin",
            "table",
            Words("none"),
            "[admin]",
            Yes,
            "A page and metrics that show the engine.",
        ),
        key(
            "cluster",
            "table",
            Words("none"),
            "[cluster]",
            Yes,
            "Engines on other machines that this one works with.",
        ),
        key(
            "listen",
            "list of tables",
            Required,
            "[[listen]]",
            Yes,
            "The listeners.",
        ),
        key(
            "upstream",
            "tables",
            Words("none"),
            "[upstream.NAME]",
            Yes,
            "The peers that listeners relay to.",
        ),
        key(
            "map",
            "tables",
            Words("none"),
            "[map.NAME]",
            Yes,
            "Tables from one text to another.",
        ),
        key(
            "limit",
            "tables",
            Words("none"),
            "[limit.NAME]",
            Yes,
            "Limits of connections that listeners have.",
        ),
        key(
            "access_log",
            "tables",
            Words("none"),
            "[access_log.NAME]",
            Yes,
            "Logs where the connections of listeners leave a line.",
        ),
        key(
            "app",
            "table",
            Words("empty"),
            "[app]",
            Yes,
            "The settings of the app.",
        ),
    ],
};

pub(super) const ENGINE: SectionReference = SectionReference {
    title: "[engine]",
    heading: "`[engine]`",
    about: "What belongs to no single process.",
    keys: &[
        key(
            "run_dir",
            "path",
            Words(
                "a folder under `$XDG_RUNTIME_DIR`, `/run/moorline` (root) or `/tmp`, named after the path of the file",
            ),
            r#""/run/chat""#,
            Restart,
            "The folder of the lock and the control socket. Commands find the engine by it. With the default they find it \
             whether `$XDG_RUNTIME_DIR` is set for them or not.",
        ),
        key(
            "gateway_loops",
            "number, 1 to 64",
            Words("the number of CPUs"),
            "17",
            Restart,
            "Event loops of the gateway.",
        ),
        key(
            "history_memory",
            "size",
            Value(r#""64MiB""#),
            r#""256MiB""#,
            Yes,
            "Bytes of the events that groups keep ([history](../guide/history.md)), all groups together. One group has at most a \
             sixteenth of it. Near `memory_limit` they give way first.",
        ),
        key(
            "history_timeout",
            "duration",
            Value(r#""10m""#),
            r#""1h""#,
            Yes,
            "A group keeps its events for this long after the last one and its last member.",
        ),
        key(
            "memory_limit",
            "size, from `\"8MiB\"`",
            Words("none"),
            r#""1GiB""#,
            Yes,
            "Bytes that the gateway may hold for sessions, apps and HTTP together: see [memory](../guide/memory.md).",
        ),
        key(
            "ring_memory",
            "size, up to `\"4GiB\"`",
            Words("8 MiB, or 2 MiB for each loop if that is more"),
            r#""512MiB""#,
            Restart,
            "Shared memory for the rings of one process.",
        ),
        key(
            "stop_over",
            "duration",
            Value(r#""0s""#),
            r#""30s""#,
            Yes,
            "A stop closes the sessions and HTTP connections spread over this time, so that their clients do not all \
             reconnect at once. Sessions that are still open are served. `max_wait` counts from its end.",
        ),
        key(
            "stop_code",
            "number, 1001 or 1012",
            Value("1001"),
            "1012",
            Yes,
            "The close code that WebSocket sessions get at a stop or drain: 1001 (going away) or 1012 (service restart).",
        ),
        key(
            "kill_after",
            "duration, from `\"1s\"`",
            Value(r#""30s""#),
            r#""1m""#,
            Yes,
            "The gateway is replaced if one of its loops, or its main thread, stands still for this long. `\"0s\"`: never. A gateway in a debugger \
             is not replaced.",
        ),
        key(
            "user",
            "user name",
            Words("none"),
            r#""nobody""#,
            Restart,
            "The user of workers and task workers, if the engine is started as root.",
        ),
        key(
            "group",
            "group name",
            Words("the group of `user`"),
            r#""daemon""#,
            Restart,
            "The group of workers and task workers. It needs `user`.",
        ),
        key(
            "gateway_user",
            "user name",
            Words("none"),
            r#""daemon""#,
            Restart,
            "The user of the gateway, if the engine is started as root. It differs from `user`.",
        ),
        key(
            "chroot",
            "path of a folder",
            Words("none"),
            r#""/""#,
            Restart,
            "The folder that workers and gateway see as `/` if they have a user of their own. Stack names need `/proc` in it. \
             Helpers and hooks stay outside.",
        ),
        key(
            "log",
            "table",
            Words("defaults"),
            "[engine.log]",
            Yes,
            "The log.",
        ),
        key(
            "hooks",
            "table",
            Words("none"),
            "[engine.hooks]",
            Yes,
            "Commands at the start and the stop.",
        ),
    ],
};

pub(super) const LOG: SectionReference = SectionReference {
    title: "[engine.log]",
    heading: "`[engine.log]`",
    about: "What the engine logs and where.",
    keys: &[
        key(
            "format",
            r#"`"pretty"` or `"json"`"#,
            Value(r#""pretty""#),
            r#""json""#,
            Yes,
            "The form of a line: for people, or one JSON object for each line.",
        ),
        key(
            "file",
            "path",
            Words("standard error"),
            r#""/var/log/chat.log""#,
            Yes,
            "The file that lines are appended to. The signal `RTMIN` opens it again.",
        ),
        key(
            "level",
            "text",
            Value(r#""info""#),
            r#""info,access=off""#,
            Yes,
            "The least level: `off`, `error`, `warn`, `info`, `debug` or `trace`, for all or by module, as in \
             `\"info,moorline=debug\"`. `access=off` leaves out the line for each session.",
        ),
    ],
};

pub(super) const HOOKS: SectionReference = SectionReference {
    title: "[engine.hooks]",
    heading: "`[engine.hooks]`",
    about: "Commands that the engine runs with the rights of the helpers.",
    keys: &[
        key(
            "started",
            "program and arguments",
            Words("none"),
            r#"["/bin/true"]"#,
            Yes,
            "Runs when the engine serves.",
        ),
        key(
            "stopping",
            "program and arguments",
            Words("none"),
            r#"["/bin/true"]"#,
            Yes,
            "Runs when the engine is told to stop. The stop waits for it.",
        ),
        key(
            "stopped",
            "program and arguments",
            Words("none"),
            r#"["/bin/true"]"#,
            Yes,
            "Runs when every process has ended.",
        ),
        key(
            "timeout",
            "duration",
            Value(r#""10s""#),
            r#""1m""#,
            Yes,
            "The most time that each may take.",
        ),
    ],
};

const COUNT_LIMIT: &str = "number, 1 to 2⁵³";
const STALL: &str = "A handler, timer or hook that computes or blocks for longer is reported with its stack, in the log and by `status`, \
                     because all others wait for it. `\"0s\"`: none is reported. More stalls at the same place in the next 10 s are \
                     counted in one line. Watching takes 0.3 ms of CPU a second, and nothing for a message.";

pub(super) const WORKERS: SectionReference = SectionReference {
    title: "[workers]",
    heading: "`[workers]`",
    about: "The processes that run the app.",
    keys: &[
        key(
            "count",
            "number, 0 to 512",
            Words("the number of CPUs"),
            "17",
            Yes,
            "Worker processes. 0: there are none, for listeners that only relay or serve files.",
        ),
        key(
            "max_wait",
            "duration",
            Value(r#""10s""#),
            r#""1m""#,
            Yes,
            "The time that a stopping process has to finish its work.",
        ),
        key(
            "start_timeout",
            "duration",
            Value(r#""10s""#),
            r#""1m""#,
            Yes,
            "The time that a new process has to become ready. A `start` that takes half of it is reported with what it waits \
             for, and again at the timeout.",
        ),
        key(
            "dispatch",
            r#"`"sticky"`, `"round-robin"`, `"least-busy"`, `"ip-hash"` or `"key"`"#,
            Value(r#""sticky""#),
            r#""least-busy""#,
            Yes,
            "The worker of a message. `sticky`: the worker is chosen at accept, the one with the fewest sessions. `round-robin` \
             and `least-busy`: chosen for each message. `ip-hash`: all sessions of one address have the same worker. `key`: all \
             sessions that `session.bind` gave the same key have the same worker.",
        ),
        key(
            "max_requests",
            COUNT_LIMIT,
            Words("none"),
            "100000",
            Yes,
            "A worker is replaced after this many messages. Each worker adds up to half of it at random, so that they are not replaced together.",
        ),
        key(
            "stall_after",
            "duration",
            Value(r#""1s""#),
            r#""5s""#,
            Yes,
            STALL,
        ),
        key(
            "wait_after",
            "duration",
            Words("none"),
            r#""5s""#,
            Yes,
            "A handler that only awaits for longer is reported with the place of the await. It blocks no other handler.",
        ),
        key(
            "kill_after",
            "duration, from `\"1s\"`",
            Words("none"),
            r#""30s""#,
            Yes,
            "A worker that gives no sign of life for this long, because it is stopped or a handler blocks it, is killed and \
             replaced. A worker in a debugger is not replaced.",
        ),
        key(
            "cpu_affinity",
            "`true`, `false`, or a list of CPU numbers",
            Value("false"),
            "true",
            Restart,
            "Worker k and gateway loop k stay on one CPU: `true` uses all CPUs in turn, a list only these.",
        ),
        key(
            "lua",
            "path",
            Words("none"),
            r#""main.lua""#,
            Yes,
            "For the `moorline` command: a Lua script whose services handle the sessions, in each worker. A reload reads it again. See \
             [sessions in Lua](../guide/lua.md).",
        ),
        key(
            "lua_path",
            "patterns with `?`, separated by semicolons",
            Words("none"),
            r#""service/?.lua;lualib/?.lua""#,
            Yes,
            "Where the script's services and modules are found, before its own folder.",
        ),
        key(
            "lua_arguments",
            "list of words",
            Words("none"),
            r#"["one", "two"]"#,
            Yes,
            "The script's arguments.",
        ),
    ],
};

pub(super) const TASKS: SectionReference = SectionReference {
    title: "[tasks]",
    heading: "`[tasks]`",
    about: "The processes that run the slow jobs of the app.",
    keys: &[
        key(
            "count",
            "number, 0 to 512",
            Value("0"),
            "1",
            Yes,
            "Task worker processes.",
        ),
        key(
            "attempts",
            "number, 1 to 1000",
            Value("3"),
            "1",
            Yes,
            "How often a task is started at most, if its process dies each time.",
        ),
        key(
            "max_requests",
            COUNT_LIMIT,
            Words("none"),
            "100",
            Yes,
            "As for workers, in tasks.",
        ),
        key(
            "stall_after",
            "duration",
            Words("none"),
            r#""1m""#,
            Yes,
            "As for workers. Tasks may take long, so there is no default.",
        ),
        key(
            "wait_after",
            "duration",
            Words("none"),
            r#""1m""#,
            Yes,
            "As for workers.",
        ),
        key(
            "kill_after",
            "duration, from `\"1s\"`",
            Words("none"),
            r#""1m""#,
            Yes,
            "As for workers.",
        ),
    ],
};

pub(super) const HELPERS: SectionReference = SectionReference {
    title: "[[helpers]]",
    heading: "`[[helpers]]`",
    about: "Commands of your own. The engine starts each, and starts it again when it ends.",
    keys: &[
        key(
            "name",
            "text, unique",
            Required,
            r#""feeder""#,
            Yes,
            "The name in the log and in `status`.",
        ),
        key(
            "command",
            "program and arguments",
            Required,
            r#"["/bin/sleep", "60"]"#,
            Yes,
            "A relative path starts at the folder of the file. A bare name is looked up in `$PATH`.",
        ),
    ],
};

pub(super) const ADMIN: SectionReference = SectionReference {
    title: "[admin]",
    heading: "`[admin]`",
    about: "A page and metrics over HTTP, to look at the engine: see [Watching](../guide/watching.md). A process of its own serves \
            them, with the rights of the helpers. It can change nothing, unless someone shows it the token. Without the table there is none.",
    keys: &[
        key(
            "listen",
            "IP address with a port",
            Required,
            r#""127.0.0.1:9400""#,
            Yes,
            "Where it listens. `localhost` stands for 127.0.0.1. Everyone who reaches it can read the engine's state.",
        ),
        key(
            "hosts",
            "list of names",
            Value("[]"),
            r#"["server1.example.org"]"#,
            Yes,
            "The names of this machine that a request may have in `Host`. IP addresses and `localhost` always may. Others get 421, so that \
             no page of another site can read the state by a name of its own that leads here.",
        ),
        key(
            "token_file",
            "path",
            Words("none: it changes nothing"),
            r#""admin.token""#,
            Yes,
            "A file with one line, the token: 16 or more visible ASCII characters. Who shows it may close sessions, have a listener \
             accept nothing, and reload. The file is read at start and at each reload.",
        ),
        key(
            "otlp",
            "table",
            Words("none"),
            "[admin.otlp]",
            Yes,
            "A collector that gets metrics and traces.",
        ),
    ],
};

pub(super) const OTLP: SectionReference = SectionReference {
    title: "[admin.otlp]",
    heading: "`[admin.otlp]`",
    about: "A collector of OpenTelemetry that gets the metrics of `/metrics`, and traces of reloads, started processes, dials and handlers, over OTLP \
            with HTTP and protobuf: see [Watching](../guide/watching.md#opentelemetry). The process of `[admin]` sends them. It needs a program that is built \
            with the feature `otel`; another one refuses the table.",
    keys: &[
        key(
            "endpoint",
            "http://HOST:PORT/PATH",
            Required,
            r#""http://127.0.0.1:4318""#,
            Yes,
            "The collector. Without a port it is 4318. `/v1/metrics` and `/v1/traces` follow the path.",
        ),
        key(
            "interval",
            "duration",
            Value(r#""10s""#),
            r#""1m""#,
            Yes,
            "The time from one export to the next, from 500ms to 1h.",
        ),
        key(
            "service",
            "text",
            Value(r#""moorline""#),
            r#""chat""#,
            Yes,
            "The `service.name` of the engine there.",
        ),
        key(
            "sample_one_in",
            "number",
            Value("100"),
            "1000",
            Yes,
            "One handler of this many is in the traces, and at most 100 a second in each worker; `0`: none. A request over HTTP with a `traceparent` is in \
             them if its client says so, and not otherwise.",
        ),
    ],
};
