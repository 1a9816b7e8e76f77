//! What editors and C compilers need: definitions of the modules, and the headers of Lua.

use std::fs;
use std::io;
use std::path::Path;

/// A list of files with their contents.
macro_rules! files {
    ($folder:expr, $($name:literal,)*) => {
        &[$(($name, include_str!(concat!($folder, "/", $name)))),*]
    };
}

/// The headers of the Lua that is built in.
const HEADERS: &[(&str, &str)] = files!(
    env!("OUT_DIR"),
    "lauxlib.h",
    "lua.h",
    "luaconf.h",
    "lualib.h",
);

/// Definitions for the Lua language server: a file for each module.
const DEFINITIONS: &[(&str, &str)] = files!(
    "../definitions",
    "bson.lua",
    "client/crypt.lua",
    "client/socket.lua",
    "http/httpc.lua",
    "http/httpd.lua",
    "http/sockethelper.lua",
    "http/tlshelper.lua",
    "http/url.lua",
    "http/websocket.lua",
    "lpeg.lua",
    "ltls/c.lua",
    "md5.lua",
    "moorline.lua",
    "re.lua",
    "skynet.lua",
    "skynet/cluster.lua",
    "skynet/codecache.lua",
    "skynet/coroutine.lua",
    "skynet/crypt.lua",
    "skynet/datacenter.lua",
    "skynet/datasheet.lua",
    "skynet/datasheet/builder.lua",
    "skynet/db/mongo.lua",
    "skynet/db/mongo/transaction.lua",
    "skynet/db/mysql.lua",
    "skynet/db/redis.lua",
    "skynet/db/redis/cluster.lua",
    "skynet/dns.lua",
    "skynet/harbor.lua",
    "skynet/manager.lua",
    "skynet/memory.lua",
    "skynet/mqueue.lua",
    "skynet/multicast.lua",
    "skynet/netpack.lua",
    "skynet/profile.lua",
    "skynet/queue.lua",
    "skynet/service.lua",
    "skynet/sharedata.lua",
    "skynet/sharemap.lua",
    "skynet/sharetable.lua",
    "skynet/snax.lua",
    "skynet/socket.lua",
    "skynet/socketchannel.lua",
    "skynet/stm.lua",
    "snax/gateserver.lua",
    "snax/loginserver.lua",
    "snax/msgserver.lua",
    "sproto.lua",
    "sprotoloader.lua",
    "sprotoparser.lua",
);

/// Writes the headers of Lua to `include` in a folder, and definitions for the Lua language server to `library`. Makes the folders.
///
/// # Errors
/// A folder or a file cannot be written: the error names it.
pub fn write_sdk(folder: &Path) -> io::Result<()> {
    for (part, files) in [("include", HEADERS), ("library", DEFINITIONS)] {
        for (name, text) in files {
            write(&folder.join(part).join(name), text)?;
        }
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let written = fs::create_dir_all(parent).and_then(|()| fs::write(path, text));
    written.map_err(|error| {
        let why = format!("cannot write {}: {error}", path.display());
        io::Error::new(error.kind(), why)
    })
}
