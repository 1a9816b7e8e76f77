//! A set of kinds of messages.

use std::cell::Cell;

/// Each service has two, so that they are small.
#[derive(Debug, Default)]
pub(crate) struct Kinds([Cell<u64>; 4]);

impl Kinds {
    pub(crate) fn set(&self, kind: u8, is_in: bool) {
        let (word, bit) = self.place(kind);
        match is_in {
            true => word.set(word.get() | bit),
            false => word.set(word.get() & !bit),
        }
    }

    pub(crate) fn has(&self, kind: u8) -> bool {
        let (word, bit) = self.place(kind);
        word.get() & bit != 0
    }

    fn place(&self, kind: u8) -> (&Cell<u64>, u64) {
        (&self.0[usize::from(kind / 64)], 1 << (kind % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_in_the_set_or_not() {
        let kinds = Kinds::default();
        for kind in (0..=255).filter(|kind| kind % 3 == 0) {
            kinds.set(kind, true);
        }
        kinds.set(30, false);
        let all: Vec<u8> = (0..=255).filter(|kind| kinds.has(*kind)).collect();
        let expected = (0..=255).filter(|kind| kind % 3 == 0 && *kind != 30);
        assert_eq!(all, expected.collect::<Vec<_>>());
    }
}
