//! A session's locker: data that an app keeps with the session in the gateway. It outlives the process that serves the
//! session.

use std::any::type_name;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::app::{Error, SendError, Session};
use crate::wire::LARGEST_LOCKER;

/// A type whose values are kept in lockers.
///
/// The next build reads what this one keeps. So a change of the type's fields needs a new version. Keep the old type for as
/// long as a build must read old values:
///
/// ```no_run
/// use moorline_worker::app::{LockerError, Result, Session, Versioned};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct OldSeat { name: String }
///
/// impl Versioned for OldSeat { const VERSION: u32 = 1; }
///
/// #[derive(Serialize, Deserialize)]
/// struct Seat { name: String, muted: bool }
///
/// impl Versioned for Seat { const VERSION: u32 = 2; }
///
/// fn seat_of(session: &Session) -> Result<Option<Seat>> {
///     match session.load() {
///         Err(LockerError::Version { stored: 1, .. }) => {
///             let old: Option<OldSeat> = session.load()?;
///             Ok(old.map(|old| Seat { name: old.name, muted: false }))
///         }
///         loaded => Ok(loaded?),
///     }
/// }
/// ```
pub trait Versioned {
    /// Rises with each change of the fields.
    const VERSION: u32;
}

/// The first byte of a locker: bytes that the app has encoded follow, or a version and a value.
const RAW: u8 = 0;
const VALUE: u8 = 1;

/// The contents of a locker with this value.
pub(super) fn tagged<T: Serialize + Versioned>(value: &T) -> Result<Vec<u8>, LockerError> {
    let encoded = postcard::to_stdvec(value).map_err(|error| LockerError::Encode {
        type_name: type_name::<T>(),
        source: error.into(),
    })?;
    if encoded.len() > LARGEST_LOCKER {
        return Err(LockerError::TooLarge {
            type_name: type_name::<T>(),
            size: encoded.len() as u64,
            max: LARGEST_LOCKER as u64,
        });
    }
    Ok([&[VALUE][..], &T::VERSION.to_le_bytes(), &encoded].concat())
}

impl Session {
    /// Replaces the value in the session's locker. The process that serves the session next, after a reload or a crash, reads
    /// it with [`load`](Self::load). It is encoded with `postcard`, up to 8 KiB.
    ///
    /// It travels in order with messages: if this process dies, the locker holds the value that was kept before the last
    /// message that the gateway has received. Only the process that serves the session can keep a value. The session's own
    /// hooks always run there. From elsewhere the session may be about to move; then the locker does not change.
    ///
    /// # Errors
    /// [`LockerError::TooLarge`], [`LockerError::Encode`], and [`LockerError::Session`] as for
    /// [`keep_bytes`](Self::keep_bytes).
    pub fn keep<T: Serialize + Versioned>(&self, value: &T) -> Result<(), LockerError> {
        self.shared()
            .keep_locker(tagged(value)?)
            .map_err(LockerError::Session)
    }

    /// The value in the session's locker; `None` if it is empty, or if another process serves the session. The
    /// [`close`](crate::app::App::close) hook can still read it.
    ///
    /// # Errors
    /// [`LockerError::Version`] and [`LockerError::Raw`] if the locker does not hold version
    /// [`T::VERSION`](Versioned::VERSION); both carry its contents. [`LockerError::Decode`] if it holds no such value.
    pub fn load<T: DeserializeOwned + Versioned>(&self) -> Result<Option<T>, LockerError> {
        let locker = self.shared().locker();
        let Some((&kind, rest)) = locker.split_first() else {
            return Ok(None);
        };
        let Some((version, value)) = rest.split_first_chunk().filter(|_| kind == VALUE) else {
            return Err(LockerError::Raw {
                bytes: rest.to_vec(),
            });
        };
        let (stored, expected) = (u32::from_le_bytes(*version), T::VERSION);
        if stored != expected {
            return Err(LockerError::Version {
                stored,
                expected,
                bytes: value.to_vec(),
            });
        }
        match postcard::from_bytes(value) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(LockerError::Decode {
                type_name: type_name::<T>(),
                version: stored,
                bytes: value.to_vec(),
                source: error.into(),
            }),
        }
    }

    /// Keeps bytes that the app has encoded itself, up to 8 KiB; otherwise as [`keep`](Self::keep). No bytes empty the
    /// locker.
    ///
    /// # Errors
    /// [`SendError::TooLarge`] over 8 KiB; [`SendError::Elsewhere`] in a process that does not serve the session;
    /// else as [`push`](Self::push).
    pub fn keep_bytes(&self, bytes: impl AsRef<[u8]>) -> Result<(), SendError> {
        self.shared().keep_raw(RAW, bytes.as_ref())
    }

    /// The bytes in the session's locker: those of [`keep_bytes`](Self::keep_bytes), or the encoded value of
    /// [`keep`](Self::keep). `None` if it is empty, or if another process serves the session.
    pub fn load_bytes(&self) -> Option<Vec<u8>> {
        let locker = self.shared().locker();
        match locker.split_first()? {
            (&VALUE, value) => Some(value.get(size_of::<u32>()..)?.to_vec()),
            (_, bytes) => Some(bytes.to_vec()),
        }
    }
}

/// Why a value was not kept or loaded.
#[derive(Debug)]
#[non_exhaustive]
pub enum LockerError {
    /// The encoded value is larger than a locker.
    TooLarge {
        /// The value's type.
        type_name: &'static str,
        /// Its encoded size in bytes.
        size: u64,
        /// The size of a locker: 8 KiB.
        max: u64,
    },
    /// The value cannot be encoded.
    Encode {
        /// The value's type.
        type_name: &'static str,
        /// Why.
        source: Error,
    },
    /// The locker holds another version: an older build has kept it, or a newer one before a rollback.
    Version {
        /// The version in the locker.
        stored: u32,
        /// The version of the type that was to be loaded.
        expected: u32,
        /// The encoded value.
        bytes: Vec<u8>,
    },
    /// The locker holds bytes of [`keep_bytes`](Session::keep_bytes).
    Raw {
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The locker holds this version, but no value of this type: its fields were changed without a new version.
    Decode {
        /// The type that was to be loaded.
        type_name: &'static str,
        /// The version in the locker.
        version: u32,
        /// The encoded value.
        bytes: Vec<u8>,
        /// Why.
        source: Error,
    },
    /// The session refuses it, for this reason.
    Session(SendError),
}

impl fmt::Display for LockerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge {
                type_name,
                size,
                max,
            } => write!(
                f,
                "a {type_name} of {size} encoded bytes is larger than a locker of {max}"
            ),
            Self::Encode { type_name, .. } => write!(f, "a {type_name} cannot be encoded"),
            Self::Version {
                stored, expected, ..
            } => write!(
                f,
                "the locker holds version {stored}, and this build reads version {expected}"
            ),
            Self::Raw { bytes } => write!(
                f,
                "the locker holds {} raw bytes, not a value with a version",
                bytes.len()
            ),
            Self::Decode {
                type_name, version, ..
            } => write!(
                f,
                "version {version} in the locker is no {type_name}: raise its version when its fields change"
            ),
            Self::Session(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LockerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Encode { source, .. } | Self::Decode { source, .. } => Some(&**source),
            Self::Session(error) => Some(error),
            Self::TooLarge { .. } | Self::Version { .. } | Self::Raw { .. } => None,
        }
    }
}
