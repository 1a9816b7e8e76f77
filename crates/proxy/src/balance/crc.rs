//! CRC-32 as of Ethernet and zlib.

/// One byte at a time is fast enough: a key is a few bytes.
const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = match value & 1 {
                1 => 0xedb8_8320 ^ (value >> 1),
                _ => value >> 1,
            };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
}

/// A checksum in progress.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crc(u32);

impl Crc {
    pub(super) fn new() -> Self {
        Self(u32::MAX)
    }

    pub(super) fn with(self, bytes: &[u8]) -> Self {
        let add = |sum: u32, byte: &u8| {
            let place = (sum ^ u32::from(*byte)) & 0xff;
            TABLE[place as usize] ^ (sum >> 8)
        };
        Self(bytes.iter().fold(self.0, add))
    }

    pub(super) fn sum(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_the_published_one() {
        assert_eq!(Crc::new().with(b"123456789").sum(), 0xcbf4_3926);
        assert_eq!(Crc::new().sum(), 0);
    }
}
