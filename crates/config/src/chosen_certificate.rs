//! Certificates whose files connections name.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::variables::Template;

/// A certificate whose files each connection names. An empty name of the certificate: none is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChosenCertificate {
    /// The file of the chain.
    pub certificate: Template,
    /// The file of its key.
    pub key: Template,
    /// Where relative paths begin.
    pub base: PathBuf,
}
