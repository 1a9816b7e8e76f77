//! Sproto's packing: bytes in eights, without their zeros.

/// A tag before bytes that are copied as they are.
const COPIED: u8 = 0xff;
/// The most eights behind such a tag.
const LONGEST_RUN: usize = 256;
/// An eight with this many bytes that are not zero goes into a run that is there.
const JOINS: usize = 6;

/// Packs bytes. What comes back has zeros behind it up to a multiple of eight.
pub(super) fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(bytes.len() + 2);
    let mut run: Vec<u8> = Vec::new();
    for chunk in bytes.chunks(8) {
        let mut eight = [0; 8];
        eight[..chunk.len()].copy_from_slice(chunk);
        let count = eight.iter().filter(|byte| **byte != 0).count();
        if count == 8 || count >= JOINS && !run.is_empty() {
            run.extend(eight);
            if run.len() == 8 * LONGEST_RUN {
                flush(&mut run, &mut packed);
            }
            continue;
        }
        flush(&mut run, &mut packed);
        let tag = (0..8).filter(|bit| eight[*bit] != 0);
        packed.push(tag.fold(0, |tag, bit| tag | 1 << bit));
        packed.extend(eight.into_iter().filter(|byte| *byte != 0));
    }
    flush(&mut run, &mut packed);
    packed
}

fn flush(run: &mut Vec<u8>, packed: &mut Vec<u8>) {
    if !run.is_empty() {
        packed.extend([COPIED, (run.len() / 8 - 1) as u8]);
        packed.append(run);
    }
}

/// The bytes that were packed, at most eight for each. None if the bytes end too early.
pub(super) fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(packed.len() * 2);
    let mut rest = packed;
    while let Some((tag, behind)) = rest.split_first() {
        rest = behind;
        if *tag == COPIED {
            let (count, behind) = rest.split_first()?;
            let (run, behind) = behind.split_at_checked((usize::from(*count) + 1) * 8)?;
            bytes.extend_from_slice(run);
            rest = behind;
            continue;
        }
        for bit in 0..8 {
            let mut byte = 0;
            if tag >> bit & 1 == 1 {
                (byte, rest) = rest.split_first().map(|(byte, rest)| (*byte, rest))?;
            }
            bytes.push(byte);
        }
    }
    Some(bytes)
}
