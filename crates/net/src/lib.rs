//! Moorline's network vocabulary: addresses and framings, without processes.

mod address;
mod framing;

pub use address::{Address, AddressError, HostPort};
pub use framing::{Delimiter, Endian, Framing, Length};
