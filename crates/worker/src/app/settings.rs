//! The settings of an app that has none.

use serde::Deserialize;

/// The [`Settings`](crate::app::App::Settings) of an app that has none: any key in `[app]` is refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}
