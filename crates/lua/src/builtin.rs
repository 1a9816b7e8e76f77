//! The modules and services that come with the program.

use std::sync::{LazyLock, OnceLock};

use mlua::{Function, Lua};

use crate::sys::{Compiled, load_static};

/// A Lua text that is compiled once for the process.
#[derive(Debug)]
pub(crate) struct Builtin {
    name: &'static str,
    text: &'static str,
    /// The process ends when only such services are left.
    is_daemon: bool,
    compiled: OnceLock<Compiled>,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Builtins {
    pub(crate) skynet: Builtin,
    pub(crate) rest: Builtin,
    pub(crate) debug: Builtin,
    pub(crate) trace: Builtin,
    modules: Vec<Builtin>,
    services: Vec<Builtin>,
    /// `.service`
    pub(crate) unique: Builtin,
    /// `.launcher`
    pub(crate) launcher: Builtin,
}

/// A list of Lua texts by name, from files of the folder `lua`.
macro_rules! builtins {
    ($($name:literal => $file:literal,)*) => {
        vec![$(Builtin::new($name, include_str!(concat!("../lua/", $file)))),*]
    };
}

/// What `skynet.cluster` launches.
fn cluster_services() -> Vec<Builtin> {
    vec![
        Builtin::new("clusterd", include_str!("../lua/service/clusterd.lua")),
        Builtin::new(
            "clusteragent",
            include_str!("../lua/service/clusteragent.lua"),
        )
        .lasting(),
        Builtin::new(
            "clusterlink",
            include_str!("../lua/service/clusterlink.lua"),
        )
        .lasting(),
        Builtin::new(
            "clusternode",
            include_str!("../lua/service/clusternode.lua"),
        ),
        Builtin::new(
            "clusterproxy",
            include_str!("../lua/service/clusterproxy.lua"),
        ),
        Builtin::new(
            "clustersender",
            include_str!("../lua/service/clustersender.lua"),
        ),
    ]
}

impl Default for Builtins {
    fn default() -> Self {
        Self {
            skynet: Builtin::new("skynet", include_str!("../lua/skynet.lua")),
            rest: Builtin::new("skynet.rest", include_str!("../lua/rest.lua")),
            debug: Builtin::new("skynet.debug", include_str!("../lua/debug.lua")),
            trace: Builtin::new("skynet.trace", include_str!("../lua/trace.lua")),
            modules: [modules(), network_modules()]
                .into_iter()
                .flatten()
                .collect(),
            services: [
                cluster_services(),
                vec![
                    Builtin::new("bootstrap", include_str!("../lua/service/bootstrap.lua"))
                        .lasting(),
                    Builtin::new(
                        "datacenterd",
                        include_str!("../lua/service/datacenterd.lua"),
                    ),
                    Builtin::new("gate", include_str!("../lua/service/gate.lua")).lasting(),
                    Builtin::new("multicastd", include_str!("../lua/service/multicastd.lua")),
                    Builtin::new("snaxd", include_str!("../lua/service/snaxd.lua")).lasting(),
                    Builtin::new("cdummy", include_str!("../lua/service/cdummy.lua")),
                    Builtin::new("console", include_str!("../lua/service/console.lua")).lasting(),
                    Builtin::new(
                        "debug_console",
                        include_str!("../lua/service/debug_console.lua"),
                    )
                    .lasting(),
                    // A bootstrap script of the user's launches these, too.
                    Builtin::new("launcher", include_str!("../lua/service/launcher.lua")),
                    Builtin::new("service_mgr", include_str!("../lua/service/unique.lua")),
                    Builtin::new("logger", include_str!("../lua/service/logger.lua")),
                    Builtin::new(
                        "service_cell",
                        include_str!("../lua/service/service_cell.lua"),
                    ),
                    Builtin::new(
                        "service_provider",
                        include_str!("../lua/service/service_provider.lua"),
                    ),
                ],
            ]
            .into_iter()
            .flatten()
            .collect(),
            unique: Builtin::new(".service", include_str!("../lua/service/unique.lua")),
            launcher: Builtin::new(".launcher", include_str!("../lua/service/launcher.lua")),
        }
    }
}

/// Those that scripts require.
fn modules() -> Vec<Builtin> {
    builtins! {
        "http.url" => "http/url.lua",
        "lpeg.re" => "lpeg/re.lua",
        "moorline.wrap" => "wrap.lua",
        "skynet.codecache" => "skynet/codecache.lua",
        "skynet.memory" => "skynet/memory.lua",
        "skynet.profile" => "skynet/profile.lua",
        "skynet.service" => "skynet/service.lua",
        "skynet.core" => "skynet/core.lua",
        "skynet.coroutine" => "skynet/coroutine.lua",
        "skynet.datacenter" => "skynet/datacenter.lua",
        "skynet.datasheet" => "skynet/datasheet.lua",
        "skynet.datasheet.builder" => "skynet/datasheet/builder.lua",
        "skynet.datasheet.dump" => "skynet/datasheet/dump.lua",
        "skynet.debug" => "skynet/debug.lua",
        "skynet.harbor" => "skynet/harbor.lua",
        "skynet.inject" => "skynet/inject.lua",
        "skynet.injectcode" => "skynet/injectcode.lua",
        "skynet.manager" => "skynet/manager.lua",
        "skynet.mqueue" => "skynet/mqueue.lua",
        "skynet.multicast" => "skynet/multicast.lua",
        "skynet.queue" => "skynet/queue.lua",
        "skynet.remotedebug" => "skynet/remotedebug.lua",
        "skynet.require" => "skynet/require.lua",
        "skynet.sharedata" => "skynet/sharedata.lua",
        "skynet.sharedata.corelib" => "skynet/sharedata/corelib.lua",
        "skynet.sharemap" => "skynet/sharemap.lua",
        "skynet.sharetable" => "skynet/sharetable.lua",
        "skynet.snax" => "skynet/snax.lua",
        "snax.hotfix" => "snax/hotfix.lua",
        "snax.interface" => "snax/interface.lua",
        "sproto" => "sproto.lua",
        "sprotoloader" => "sprotoloader.lua",
    }
}

/// The modules that speak to other machines.
fn network_modules() -> Vec<Builtin> {
    builtins! {
        "client.socket" => "client/socket.lua",
        "http.httpc" => "http/httpc.lua",
        "http.httpd" => "http/httpd.lua",
        "http.internal" => "http/internal.lua",
        "http.sockethelper" => "http/sockethelper.lua",
        "skynet.cluster" => "skynet/cluster.lua",
        "skynet.cluster.frames" => "skynet/cluster/frames.lua",
        "skynet.cluster.receiver" => "skynet/cluster/receiver.lua",
        "skynet.db.mongo" => "skynet/db/mongo.lua",
        "skynet.db.mongo.collection" => "skynet/db/mongo/collection.lua",
        "skynet.db.mongo.cursor" => "skynet/db/mongo/cursor.lua",
        "skynet.db.mongo.login" => "skynet/db/mongo/login.lua",
        "skynet.db.mongo.transaction" => "skynet/db/mongo/transaction.lua",
        "skynet.db.mysql" => "skynet/db/mysql.lua",
        "skynet.db.mysql.login" => "skynet/db/mysql/login.lua",
        "skynet.db.mysql.packets" => "skynet/db/mysql/packets.lua",
        "skynet.db.mysql.values" => "skynet/db/mysql/values.lua",
        "skynet.db.redis" => "skynet/db/redis.lua",
        "skynet.db.redis.cluster" => "skynet/db/redis/cluster.lua",
        "skynet.db.redis.crc16" => "skynet/db/redis/crc16.lua",
        "moorline.datagrams" => "moorline/datagrams.lua",
        "moorline.gate" => "moorline/gate.lua",
        "http.tlshelper" => "http/tlshelper.lua",
        "http.websocket" => "http/websocket.lua",
        "skynet.dns" => "skynet/dns.lua",
        "skynet.socketchannel" => "skynet/socketchannel.lua",
        "snax.loginserver" => "snax/loginserver.lua",
        "snax.msgserver" => "snax/msgserver.lua",
        "skynet.netpack" => "skynet/netpack.lua",
        "skynet.socket" => "skynet/socket.lua",
        "skynet.socketdriver" => "skynet/socketdriver.lua",
        "snax.gateserver" => "snax/gateserver.lua",
    }
}

impl Builtins {
    /// Those of the process.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: LazyLock<Builtins> = LazyLock::new(Builtins::default);
        &SHARED
    }

    /// A module but `skynet` itself.
    pub(crate) fn module(&self, name: &str) -> Option<&Builtin> {
        self.modules.iter().find(|module| module.name == name)
    }

    /// A service that modules stand on. A script of the user's with its name comes first.
    pub(crate) fn service(&self, name: &str) -> Option<&Builtin> {
        self.services.iter().find(|service| service.name == name)
    }
}

/// Modules of skynet that are not there yet. A script that requires one is told so.
const MISSING: &[&str] = &[
    "skynet.",
    "snax.",
    "http.",
    "sproto",
    "sprotoparser",
    "sprotoloader",
    "md5",
    "bson",
    "lpeg",
    "client.",
    "ltls.",
];

/// Modules that had names without `skynet.` before. Those of databases have moved, too. `re` is the name of LPeg's own: it is as short as
/// that of a module of the user's, which comes first, so that the one here has a longer name.
const OLDER: &[(&str, &str)] = &[
    ("cluster", "skynet.cluster"),
    ("crypt", "skynet.crypt"),
    ("datacenter", "skynet.datacenter"),
    ("dns", "skynet.dns"),
    ("memory", "skynet.memory"),
    ("mongo", "skynet.db.mongo"),
    ("mqueue", "skynet.mqueue"),
    ("multicast", "skynet.multicast"),
    ("mysql", "skynet.db.mysql"),
    ("netpack", "skynet.netpack"),
    ("profile", "skynet.profile"),
    ("re", "lpeg.re"),
    ("redis", "skynet.db.redis"),
    ("sharedata", "skynet.sharedata"),
    ("sharemap", "skynet.sharemap"),
    ("snax", "skynet.snax"),
    ("socket", "skynet.socket"),
    ("socketchannel", "skynet.socketchannel"),
    ("socketdriver", "skynet.socketdriver"),
    ("stm", "skynet.stm"),
];

/// The name that a module has now, if this is its older one.
pub(crate) fn current_name(name: &str) -> Option<&'static str> {
    let found = OLDER.iter().find(|(older, _)| *older == name);
    found.map(|(_, current)| *current)
}

/// Whether a module belongs to skynet.
pub(crate) fn is_missing(name: &str) -> bool {
    MISSING
        .iter()
        .any(|missing| match missing.strip_suffix('.') {
            Some(_) => name.starts_with(missing),
            None => name == *missing,
        })
}

impl Builtin {
    fn new(name: &'static str, text: &'static str) -> Self {
        Self {
            name,
            text,
            is_daemon: true,
            compiled: OnceLock::new(),
        }
    }

    /// A service that does something of its own: the process runs as long as it does.
    fn lasting(self) -> Self {
        Self {
            is_daemon: false,
            ..self
        }
    }

    pub(crate) fn is_daemon(&self) -> bool {
        self.is_daemon
    }

    /// Its function in a state.
    pub(crate) fn load(&'static self, lua: &Lua) -> mlua::Result<Function> {
        if let Some(compiled) = self.compiled.get() {
            return load_static(lua, compiled);
        }
        let name = format!("={}", self.name);
        let function = lua.load(self.text).set_name(&name).into_function()?;
        // Without lines, which no script's author looks for here, and which are a third of it.
        let compiled = self
            .compiled
            .get_or_init(|| Compiled::new(&function, &name, false));
        load_static(lua, compiled)
    }
}
