//! `[app]`, which only the app understands: read again as the app's own type, so that its errors have their place.

use std::path::Path;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigErrors, Report};
use super::{load, near};

/// Checks `[app]` of the configuration at `path` against the app's type.
///
/// Other errors in the file are not reported here: [`load`](super::load) does that.
///
/// # Errors
/// `[app]` does not fit `T`.
pub fn check_app<T: DeserializeOwned>(path: &Path) -> Result<(), ConfigErrors> {
    let (file, text) = load::read(path)?;
    check_app_text::<T>(&text, &file)
}

/// [`check_app`] of a text as if it were the file at `path`.
///
/// # Errors
/// As [`check_app`].
pub fn check_app_text<T: DeserializeOwned>(text: &str, path: &Path) -> Result<(), ConfigErrors> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Ok(());
    }
    let report = Report::new(path, text);
    let written = tree.get_ref().get("app");
    let (span, table) = match written.map(|app| (app.span(), app.get_ref())) {
        Some((span, DeValue::Table(table))) => (span, table.clone()),
        Some(_) => return Ok(()),
        None => (0..0, DeTable::new()),
    };
    let deserializer = toml::Deserializer::from(Spanned::new(span.clone(), table));
    if let Err(error) = T::deserialize(deserializer) {
        let message = format!("[app]: {}", error.message());
        match (written, error.span()) {
            (None, _) => {
                report.file_error(message, "write [app] and this key below it");
            }
            (Some(_), place) => {
                let place = place.filter(|place| !place.is_empty()).unwrap_or(span);
                match hint(error.message()) {
                    Some(hint) => report.error(place, message, hint),
                    None => report.plain_error(place, message),
                };
            }
        }
    }
    report.finish().map(|_| ())
}

/// serde's message for a struct without fields shows an app without settings. The names that serde lists show a slip:
/// "unknown field `dealy`, expected `delay`".
fn hint(message: &str) -> Option<String> {
    if message.ends_with(", there are no fields") {
        return Some("this app has no settings: remove this key".to_owned());
    }
    let mut names = message.split('`').skip(1).step_by(2);
    let unknown = names.next()?;
    message.starts_with("unknown ").then_some(())?;
    let meant = near::nearest(unknown, names)?;
    Some(format!("did you mean `{meant}`?"))
}
