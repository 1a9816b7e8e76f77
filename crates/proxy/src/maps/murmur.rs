//! The hash of shares: MurmurHash2, the same as nginx's, so that an imported configuration keeps its shares.

const M: u32 = 0x5bd1_e995;

pub(super) fn murmur_hash2(bytes: &[u8]) -> u32 {
    // A longer text is cut before.
    let mut hash = bytes.len() as u32;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (at, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::murmur_hash2;

    #[test]
    fn hashes_are_those_of_the_reference() {
        // From Appleby's MurmurHash2 with seed 0.
        for (text, hash) in [("", 0), ("a", 0x9268_5f5e), ("abcd", 0x2687_3021)] {
            assert_eq!(
                murmur_hash2(text.as_bytes()),
                hash,
                "{text}: {:x}",
                murmur_hash2(text.as_bytes())
            );
        }
    }
}
