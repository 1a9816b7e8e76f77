//! What was measured, as JSON for `cargo xtask bench`.

use serde_json::{Value, json};

/// What was measured of the engine and of another server, a number for each round.
#[derive(Debug, Default)]
pub struct Figures {
    /// What was done.
    pub what: String,
    /// What the numbers count.
    pub unit: &'static str,
    /// The engine's.
    pub engine: Vec<f64>,
    /// The other server's. Empty without one.
    pub other: Vec<f64>,
}

impl Figures {
    /// None yet.
    pub fn new(what: impl Into<String>, unit: &'static str) -> Self {
        Self {
            what: what.into(),
            unit,
            ..Self::default()
        }
    }

    /// Those of one round.
    pub fn push(&mut self, engine: f64, other: f64) {
        self.engine.push(engine);
        self.other.push(other);
    }

    /// That of one round, with nothing beside it.
    pub fn push_alone(&mut self, engine: f64) {
        self.engine.push(engine);
    }
}

/// Prints all of them.
pub fn print(figures: &[Figures]) {
    let figures: Vec<Value> = figures
        .iter()
        .map(|it| json!({ "what": it.what, "unit": it.unit, "engine": it.engine, "other": it.other }))
        .collect();
    println!("{:#}", Value::from(figures));
}
