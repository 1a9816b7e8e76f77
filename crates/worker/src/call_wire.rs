//! What calls between nodes and their answers are made of.

use std::time::Duration;

use bytes::{BufMut, Bytes};

/// The longest name of a service, in bytes.
pub(crate) const LONGEST_NAME: usize = 255;

/// What is asked of a process of another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Inquiry {
    /// A call to a service.
    Service { name: String, bytes: Bytes },
    /// A post. It is answered when it has been handled.
    Post(Bytes),
    /// A task for its task workers: for the one in this slot, and so long.
    Task {
        slot: Option<u16>,
        within: Duration,
        bytes: Bytes,
    },
}

const SERVICE: u8 = 0;
const POST: u8 = 1;
const TASK: u8 = 2;
/// In place of a slot: any.
const ANY_SLOT: u16 = u16::MAX;

/// How an inquiry went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallOutcome {
    /// The bytes are the result.
    Done,
    /// The bytes are the reason.
    Failed,
    NoSuchService,
    Full,
    NoTaskWorkers,
    NoSuchTaskWorker,
    GatewayLost,
    Timeout,
}

impl CallOutcome {
    const ALL: [Self; 8] = [
        Self::Done,
        Self::Failed,
        Self::NoSuchService,
        Self::Full,
        Self::NoTaskWorkers,
        Self::NoSuchTaskWorker,
        Self::GatewayLost,
        Self::Timeout,
    ];

    /// One that this version does not know has failed.
    pub(crate) fn from_u8(outcome: u8) -> Self {
        let known = Self::ALL.get(usize::from(outcome));
        known.copied().unwrap_or(Self::Failed)
    }
}

/// The flags and the bytes of a call to a service. The name has at most [`LONGEST_NAME`] bytes.
pub(crate) fn service_call(name: &str, bytes: &[u8]) -> (u8, Vec<u8>) {
    let mut payload = Vec::with_capacity(1 + name.len() + bytes.len());
    payload.put_u8(name.len() as u8);
    payload.put_slice(name.as_bytes());
    payload.put_slice(bytes);
    (SERVICE, payload)
}

/// The flags of a post; its bytes are as they are.
pub(crate) const fn post() -> u8 {
    POST
}

/// The flags and the bytes of a task.
pub(crate) fn task(slot: Option<u16>, within: Duration, bytes: &[u8]) -> (u8, Vec<u8>) {
    let mut payload = Vec::with_capacity(6 + bytes.len());
    payload.put_u16_le(slot.unwrap_or(ANY_SLOT));
    payload.put_u32_le(u32::try_from(within.as_millis()).unwrap_or(u32::MAX));
    payload.put_slice(bytes);
    (TASK, payload)
}

impl Inquiry {
    /// Reads what has come; `None` for anything that no worker of this version asks.
    pub(crate) fn decode(flags: u8, payload: &Bytes) -> Option<Self> {
        match flags {
            SERVICE => {
                let (&length, _) = payload.split_first()?;
                let end = 1 + usize::from(length);
                let name = std::str::from_utf8(payload.get(1..end)?).ok()?;
                Some(Self::Service {
                    name: name.to_owned(),
                    bytes: payload.slice(end..),
                })
            }
            POST => Some(Self::Post(payload.clone())),
            TASK => {
                let (slot, rest) = payload.split_first_chunk()?;
                let (within, _) = rest.split_first_chunk()?;
                let slot = u16::from_le_bytes(*slot);
                Some(Self::Task {
                    slot: (slot != ANY_SLOT).then_some(slot),
                    within: Duration::from_millis(u32::from_le_bytes(*within).into()),
                    bytes: payload.slice(6..),
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read((flags, payload): (u8, Vec<u8>)) -> Option<Inquiry> {
        Inquiry::decode(flags, &payload.into())
    }

    #[test]
    fn an_inquiry_is_read_back() {
        let name = "x".repeat(LONGEST_NAME);
        let bytes = Bytes::from_static(b"bytes");
        let service = Inquiry::Service {
            name: name.clone(),
            bytes: bytes.clone(),
        };
        assert_eq!(read(service_call(&name, &bytes)), Some(service));
        assert_eq!(
            read((post(), bytes.to_vec())),
            Some(Inquiry::Post(bytes.clone()))
        );
        for slot in [None, Some(3)] {
            let within = Duration::from_millis(1500);
            let expected = Inquiry::Task {
                slot,
                within,
                bytes: bytes.clone(),
            };
            assert_eq!(read(task(slot, within, &bytes)), Some(expected));
        }
    }

    #[test]
    fn what_no_worker_asks_is_not_understood() {
        for (flags, payload) in [
            (SERVICE, &b""[..]),
            (SERVICE, b"\x02a"),
            (SERVICE, b"\x01\xff"),
            (TASK, b"12345"),
            (3, b""),
            (255, b"\x00"),
        ] {
            assert_eq!(read((flags, payload.to_vec())), None, "{flags} {payload:?}");
        }
    }

    #[test]
    fn an_outcome_is_read_back_and_an_unknown_one_has_failed() {
        for outcome in CallOutcome::ALL {
            assert_eq!(CallOutcome::from_u8(outcome as u8), outcome);
        }
        assert_eq!(CallOutcome::from_u8(200), CallOutcome::Failed);
    }
}
