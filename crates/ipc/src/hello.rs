//! The first bytes on every channel between two processes.

use std::fmt;

/// Shows "Moorline" to a reader of the bytes.
const MAGIC: [u8; 8] = *b"MOORLINE";
/// Rises when the layout of a region, a record or a scoreboard changes.
pub(crate) const RING_VERSION: u32 = 4;
/// Rises when the messages on the control channels change.
const CONTROL_VERSION: u32 = 4;

/// The hello that both sides of a channel send before anything else: a magic, the version of the rings
/// and the version of the control messages (both little-endian).
///
/// An executable that was replaced on disk may be newer or older than the engine that starts it; what
/// does not match is refused here, before a byte of it is misread.
#[derive(Debug)]
pub struct Hello;

impl Hello {
    /// The length of a hello in bytes.
    pub const SIZE: usize = 16;

    /// The hello of this build.
    pub fn current() -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&RING_VERSION.to_le_bytes());
        bytes[12..].copy_from_slice(&CONTROL_VERSION.to_le_bytes());
        bytes
    }

    /// Whether the other side's hello is that of a build we can speak with.
    ///
    /// # Errors
    /// Anything but exactly our magic and versions.
    pub fn check(bytes: &[u8]) -> Result<(), HelloError> {
        let Ok(
            &[
                m0,
                m1,
                m2,
                m3,
                m4,
                m5,
                m6,
                m7,
                r0,
                r1,
                r2,
                r3,
                c0,
                c1,
                c2,
                c3,
            ],
        ) = <&[u8; Self::SIZE]>::try_from(bytes)
        else {
            return Err(HelloError::Size(bytes.len()));
        };
        if [m0, m1, m2, m3, m4, m5, m6, m7] != MAGIC {
            return Err(HelloError::Magic);
        }
        let ring = u32::from_le_bytes([r0, r1, r2, r3]);
        let control = u32::from_le_bytes([c0, c1, c2, c3]);
        if (ring, control) != (RING_VERSION, CONTROL_VERSION) {
            return Err(HelloError::Version { ring, control });
        }
        Ok(())
    }
}

/// Why a hello was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HelloError {
    /// It has this many bytes, and not [`Hello::SIZE`].
    Size(usize),
    /// It does not begin with Moorline's magic: the other side is something else.
    Magic,
    /// The other side is a Moorline of other versions.
    Version {
        /// The version of its rings.
        ring: u32,
        /// The version of its control messages.
        control: u32,
    },
}

impl fmt::Display for HelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(size) => write!(f, "the hello has {size} bytes instead of {}", Hello::SIZE),
            Self::Magic => f.write_str("the other side is not a Moorline process"),
            Self::Version { ring, control } => write!(
                f,
                "the other side speaks ring version {ring} and control version {control}, \
                 this one {RING_VERSION} and {CONTROL_VERSION}: build both from the same Moorline"
            ),
        }
    }
}

impl std::error::Error for HelloError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_hello_is_accepted() {
        assert_eq!(Hello::check(&Hello::current()), Ok(()));
    }

    #[test]
    fn anything_else_is_refused_and_named() {
        let mut other = Hello::current();
        other[8] = 7;
        other[12] = 9;
        assert_eq!(
            Hello::check(&other),
            Err(HelloError::Version {
                ring: 7,
                control: 9
            })
        );
        other[0] = b'X';
        assert_eq!(Hello::check(&other), Err(HelloError::Magic));
        assert_eq!(Hello::check(&other[1..]), Err(HelloError::Size(15)));
        assert_eq!(Hello::check(b""), Err(HelloError::Size(0)));
    }
}
