//! What every process of an engine does for itself, in any role.
//!
//! - [`log`]: where its log lines go
//! - [`rights`]: how it gives up rights
//! - [`open_files`]: how many files it may have open, and needs
//! - [`relay_pipes`]: how much of pipes its relays may have
//! - [`signals`], [`orphan`]: what ends it and what does not
//! - [`machine`]: what is left of memory
//! - [`affinity`]: on which CPU it stays
//! - [`credentials`]: certificates and keys on their way from supervisor to gateway
//! - [`disk_file`]: which files may be sent
//! - [`utc`]: dates in logs
//!
//! It knows nothing of the work of supervisor, gateway and worker.

#![forbid(unsafe_code)]

pub mod affinity;
pub mod credentials;
pub mod disk_file;
pub mod log;
pub mod machine;
pub mod open_files;
pub mod orphan;
pub mod relay_pipes;
pub mod rights;
pub mod signals;
pub mod utc;
