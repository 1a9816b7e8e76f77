//! The names of skynet's modules, and which of them are there.

use std::collections::{BTreeMap, BTreeSet};

use super::script::run;

/// A module of skynet's.
pub(crate) struct Module {
    pub(crate) name: &'static str,
    /// Other modules stand on it. Scripts do not require it.
    pub(crate) is_internal: bool,
    pub(crate) names: Vec<Name>,
}

/// A function, a method or a value of a module.
pub(crate) struct Name {
    /// `()` is the module itself, which is called. A method has the kind of its object before a colon.
    pub(crate) text: &'static str,
    /// `=` for a value.
    pub(crate) arity: &'static str,
    /// The file says that it is there: methods are not looked for.
    is_there: bool,
    /// It raises an error, for this reason.
    pub(crate) refusal: Option<&'static str>,
}

impl Name {
    pub(crate) fn is_method(&self) -> bool {
        self.text.contains(':')
    }

    pub(crate) fn is_marked(&self) -> bool {
        self.is_there || self.refusal.is_some()
    }

    /// Values of a module are not counted.
    pub(crate) fn is_counted(&self) -> bool {
        self.arity != "=" || self.is_method()
    }
}

/// All of them, in the order of the file.
pub(crate) fn modules() -> Vec<Module> {
    let text = include_str!("../../../crates/lua/names.txt");
    let mut modules = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.splitn(4, ' ');
        let Some(first) = words.next().filter(|first| !first.is_empty()) else {
            continue;
        };
        if let Some(name) = first.strip_prefix('[') {
            modules.push(Module {
                name: name.strip_suffix(']').expect("a section ends with ]"),
                is_internal: words.next() == Some("internal"),
                names: Vec::new(),
            });
            continue;
        }
        let arity = words.next().expect("a name has an arity");
        let (mark, reason) = (words.next(), words.next());
        assert!(matches!(mark, None | Some("yes" | "no")), "{line}");
        assert_eq!(mark == Some("no"), reason.is_some(), "{line}");
        let module: &mut Module = modules.last_mut().expect("a name is in a section");
        module.names.push(Name {
            text: first,
            arity,
            is_there: mark == Some("yes"),
            refusal: reason,
        });
    }
    modules
}

/// What a script finds.
pub(crate) struct Found {
    required: BTreeSet<String>,
    names: BTreeMap<String, BTreeSet<String>>,
}

impl Found {
    pub(crate) fn module(&self, module: &Module) -> bool {
        self.required.contains(module.name)
    }

    pub(crate) fn name(&self, module: &Module, name: &Name) -> bool {
        match name.is_method() {
            true => name.is_marked(),
            false => (self.names.get(module.name)).is_some_and(|names| names.contains(name.text)),
        }
    }
}

/// Requires every module in a service, and looks for every name that is not a method.
pub(crate) fn look(modules: &[Module]) -> Found {
    let mut list = String::new();
    for module in modules {
        let names = module.names.iter().filter(|name| !name.is_method());
        let names: Vec<String> = names
            .map(|name| format!("{{ {:?}, {} }}", name.text, name.arity == "="))
            .collect();
        list += &format!("{{ {:?}, {{ {} }} }},\n", module.name, names.join(", "));
    }
    let main = format!(
        "local skynet = require 'skynet'
        require 'skynet.manager'
        local function is_called(value)
            local metatable = getmetatable(value)
            return type(value) == 'function' or type(metatable) == 'table' and metatable.__call ~= nil
        end
        skynet.start(function()
            for _, module in ipairs {{ {list} }} do
                local name, names = module[1], module[2]
                local ok, value = pcall(require, name)
                if ok then
                    print('module', name)
                    for _, it in ipairs(names) do
                        local found
                        if it[1] == '()' then
                            found = is_called(value)
                        elseif type(value) == 'table' then
                            found = value[it[1]]
                            if not it[2] then found = is_called(found) end
                        end
                        if found then print('name', name, it[1]) end
                    end
                elseif not value:find(\"module '\" .. name .. \"'\", 1, true) then
                    error(value)
                end
            end
            skynet.abort()
        end)"
    );
    let finished = run(&[("main.lua", &main)]).expect_success();
    let (mut required, mut names) = (BTreeSet::new(), BTreeMap::new());
    for line in finished.stdout.lines() {
        match *line.split('\t').collect::<Vec<_>>() {
            ["module", module] => {
                required.insert(module.to_owned());
            }
            ["name", module, name] => {
                let names: &mut BTreeSet<String> = names.entry(module.to_owned()).or_default();
                names.insert(name.to_owned());
            }
            // A module may log.
            _ => {}
        }
    }
    Found { required, names }
}
