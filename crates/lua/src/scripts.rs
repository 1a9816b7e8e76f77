//! The scripts of services, compiled once for the process as long as their files stay the same.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mlua::Function;
use rustc_hash::FxHashMap;

use crate::sys::{Compiled, OwnedState};

/// The scripts that services were started with.
#[derive(Debug, Default)]
pub(crate) struct Scripts(Mutex<KnownScripts>);

#[derive(Debug, Default)]
struct KnownScripts {
    scripts: FxHashMap<PathBuf, Arc<KnownScript>>,
    /// What they take.
    bytes: usize,
}

#[derive(Debug)]
struct KnownScript {
    text: Vec<u8>,
    code: Arc<Compiled>,
}

/// Above this many bytes of texts and code all are forgotten: more than any deployment has, unless its files change all the time.
const MOST: usize = 64 << 20;

impl Scripts {
    /// The function of a file's text in a state. A text that was seen in this file before is not compiled again.
    ///
    /// # Errors
    /// The text is no Lua, or there is no memory.
    pub(crate) fn load(
        &self,
        lua: &OwnedState,
        path: &Path,
        text: Vec<u8>,
    ) -> mlua::Result<Function> {
        let known = self.known().scripts.get(path).cloned();
        if let Some(known) = known.filter(|known| known.text == text) {
            return lua.load_compiled(known.code.clone());
        }
        let name = format!("@{}", path.display());
        let function = lua
            .load(without_first_comment(&text))
            .set_name(&name)
            .into_function()?;
        let code = Arc::new(Compiled::new(&function, &name, true));
        self.known().add(path, KnownScript { text, code });
        Ok(function)
    }

    fn known(&self) -> MutexGuard<'_, KnownScripts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownScripts {
    fn add(&mut self, path: &Path, script: KnownScript) {
        let size = script.size();
        if self.bytes + size > MOST {
            self.scripts.clear();
            self.bytes = 0;
        }
        if size > MOST {
            return;
        }
        self.bytes += size;
        let before = self.scripts.insert(path.to_owned(), Arc::new(script));
        self.bytes -= before.map_or(0, |before| before.size());
    }
}

impl KnownScript {
    fn size(&self) -> usize {
        self.text.len() + self.code.size()
    }
}

/// A script may begin with `#!`.
fn without_first_comment(text: &[u8]) -> &[u8] {
    match text.starts_with(b"#") {
        true => {
            let end = text.iter().position(|byte| *byte == b'\n');
            &text[end.unwrap_or(text.len())..]
        }
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(scripts: &Scripts, path: &str, text: &str) -> mlua::Result<String> {
        let lua = OwnedState::new(0)?;
        let main = scripts.load(&lua, Path::new(path), text.into())?;
        main.call(("a", "b"))
    }

    #[test]
    fn a_script_that_is_known_runs_as_the_first_time() {
        let scripts = Scripts::default();
        let text = "#!/usr/bin/env moorline\nlocal first, second = ...
            local long = 'a text that is too long to be in a table of short ones'
            local ok, why = pcall(function() error(first .. second .. #long) end)
            local info = debug.getinfo(1, 'Sl')
            return why .. ' ' .. info.source .. ' ' .. info.currentline";
        for _ in 0..3 {
            let said = run(&scripts, "x/y.lua", text).expect("it is Lua");
            assert_eq!(said, "x/y.lua:4: ab54 @x/y.lua 5");
        }
        assert_eq!(scripts.known().scripts.len(), 1);
    }

    #[test]
    fn a_script_that_has_changed_is_compiled_again_and_one_with_an_error_each_time() {
        let scripts = Scripts::default();
        for number in ["'1'", "'2'", "'2'", "'1'"] {
            let said = run(&scripts, "a.lua", &format!("return {number}")).expect("it is Lua");
            assert_eq!(format!("'{said}'"), number);
        }
        for _ in 0..2 {
            let error = run(&scripts, "a.lua", "return return").expect_err("it is no Lua");
            assert!(error.to_string().contains("a.lua:1:"), "{error}");
        }
        let known = scripts.known();
        let script = known.scripts.values().next().expect("there is one");
        assert_eq!(known.bytes, script.size());
    }

    #[test]
    fn known_scripts_are_bounded() {
        let scripts = Scripts::default();
        for number in 0..5 {
            let text = format!("--{}\nreturn '{number}'", "x".repeat(MOST / 4));
            let path = format!("{number}.lua");
            run(&scripts, &path, &text).expect("it is Lua");
            assert!(scripts.known().bytes <= MOST);
        }
        assert_eq!(scripts.known().scripts.len(), 2);
        run(
            &scripts,
            "large.lua",
            &format!("return '' --{}", "x".repeat(MOST)),
        )
        .expect("it is Lua");
        assert_eq!(scripts.known().bytes, 0);
    }
}
