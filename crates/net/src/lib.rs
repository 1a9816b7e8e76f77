//! Moorline's network vocabulary: addresses, listening sockets and framings.
//!
//! Begin with [`Framing`] and [`Decoder`]: they turn a byte stream into messages and back, and touch
//! neither sockets nor clocks.
//!
//! - [`Address`]: where something listens or is reached, as text and as value
//! - [`framing`]: how a byte stream is cut into messages
//! - [`socket`]: the sockets that listeners accept on
//!
//! This crate knows nothing of processes, configuration files or rings.

#![forbid(unsafe_code)]

mod address;
pub mod framing;
pub mod socket;

pub use address::{Address, AddressError, HostPort, MAX_UNIX_PATH_BYTES};
pub use framing::{
    ControlFrame, Decoded, Decoder, Delimiter, EncodeError, Endian, Envelope, Framing,
    FramingError, InvalidFraming, Length, websocket,
};
pub use socket::{ListenError, listen, local_address};
