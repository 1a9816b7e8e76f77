//! Functions that work on memory which C shares between services. Here they are there, and say why they cannot work.

use mlua::{Lua, MultiValue, Table};

use crate::module::{Module, failure};

/// What a module below another one refuses.
struct Refused {
    module: &'static str,
    functions: &'static [&'static str],
    why: &'static str,
}

const ALL: &[Refused] = &[
    Refused {
        module: "skynet.multicast.core",
        functions: &[
            "bind",
            "close",
            "nextid",
            "pack",
            "packremote",
            "remote",
            "unpack",
        ],
        why: "Moorline publishes messages without pointers: use skynet.multicast",
    },
    Refused {
        module: "skynet.sharetable.core",
        functions: &["clone", "matrix", "stackvalues"],
        why: "a shared table is no state of Lua here: use skynet.sharetable",
    },
    Refused {
        module: "skynet.datasheet.core",
        functions: &["new", "stringpointer", "update"],
        why: "a datasheet is no pointer here: use skynet.datasheet and its builder",
    },
];

/// The table of a module with this name, or none.
pub(crate) fn module(lua: &Lua, name: &str) -> Option<mlua::Result<Table>> {
    let refused = ALL.iter().find(|refused| refused.module == name)?;
    Some(refused.table(lua))
}

impl Refused {
    fn table(&'static self, lua: &Lua) -> mlua::Result<Table> {
        let mut module = Module::new(lua)?;
        for name in self.functions {
            module = module.function(name, move |_, _: MultiValue| {
                Err::<(), _>(failure(format!("{}.{name}: {}", self.module, self.why)))
            })?;
        }
        if self.module == "skynet.sharetable.core" {
            module = module.function("is_sharedtable", |_, value: mlua::Value| {
                let metatable = value.as_table().and_then(Table::metatable);
                let name = match metatable {
                    Some(metatable) => metatable.raw_get::<Option<String>>("__name")?,
                    None => None,
                };
                Ok(name.as_deref() == Some("sharedtable"))
            })?;
        }
        Ok(module.into_table())
    }
}
