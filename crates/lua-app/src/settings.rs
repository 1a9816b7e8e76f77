//! The `[app]` table of an app in Lua.

use serde::Deserialize;
use toml::Value;

/// Names and values, which scripts read with `skynet.getenv`. A table or a list in the table gives names with dots: `room.name`,
/// `rooms.1`.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "toml::Table")]
pub struct LuaSettings(Vec<(String, String)>);

impl LuaSettings {
    pub(crate) fn into_variables(self) -> Vec<(String, String)> {
        self.0
    }
}

impl From<toml::Table> for LuaSettings {
    fn from(table: toml::Table) -> Self {
        let mut variables = Vec::new();
        for (name, value) in table {
            flatten(name, value, &mut variables);
        }
        Self(variables)
    }
}

fn flatten(name: String, value: Value, variables: &mut Vec<(String, String)>) {
    let text = match value {
        Value::String(text) => text,
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(flag) => flag.to_string(),
        Value::Datetime(time) => time.to_string(),
        Value::Table(inner) => {
            for (key, value) in inner {
                flatten(format!("{name}.{key}"), value, variables);
            }
            return;
        }
        Value::Array(inner) => {
            for (index, value) in (1..).zip(inner) {
                flatten(format!("{name}.{index}"), value, variables);
            }
            return;
        }
    };
    variables.push((name, text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_texts_and_tables_and_lists_names_with_dots() {
        let text =
            "greeting = \"ahoy\"\nis_open = true\nrooms = [\"a\", 2]\n[room]\nname = \"a\"\n";
        let settings: LuaSettings = toml::from_str(text).expect("they are settings");
        let mut variables = settings.into_variables();
        variables.sort();
        let expected = [
            ("greeting", "ahoy"),
            ("is_open", "true"),
            ("room.name", "a"),
            ("rooms.1", "a"),
            ("rooms.2", "2"),
        ];
        let expected: Vec<_> = expected.map(|(n, v)| (n.to_owned(), v.to_owned())).into();
        assert_eq!(variables, expected);
    }
}
