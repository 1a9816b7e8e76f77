//! The names that listeners may refer to.

use super::upstream::Upstreams;

/// The names of tables that listeners refer to.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) upstreams: &'a Upstreams,
    pub(super) limits: &'a [String],
    pub(super) access_logs: &'a [String],
}
