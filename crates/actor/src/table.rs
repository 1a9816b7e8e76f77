//! Which loop has a service: one atomic word for each slot.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::id::{GENERATIONS, SLOTS, ServiceId};

/// Slots are made in blocks, when they are needed.
const BLOCK: u32 = 1 << 14;
/// A free slot rests until this many others are free, so that an id comes back late.
const RESTING: usize = 1 << 16;

/// All slots. Reading takes no lock; giving and freeing a slot does.
#[derive(Debug)]
pub(crate) struct Table {
    blocks: Box<[OnceLock<Box<[AtomicU64]>>]>,
    free: Mutex<Free>,
}

#[derive(Debug)]
struct Free {
    slots: VecDeque<u32>,
    /// The first slot that was never used.
    next: u32,
}

/// Where a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its loop.
    pub(crate) on: u8,
    /// Its cell there; none while it is being launched.
    pub(crate) cell: Option<u32>,
    /// Its mailbox is above the bound.
    pub(crate) is_full: bool,
}

/// A slot's word: generation in the upper half, then flags, the loop, the cell.
const LIVE: u64 = 1 << 31;
const FULL: u64 = 1 << 30;
const LOOP_SHIFT: u32 = 22;
/// The cell of a service that is being launched.
const NO_CELL: u64 = (1 << LOOP_SHIFT) - 1;

impl Table {
    pub(crate) fn new() -> Self {
        Self {
            blocks: (0..SLOTS / BLOCK).map(|_| OnceLock::new()).collect(),
            free: Mutex::new(Free {
                slots: VecDeque::new(),
                next: 1,
            }),
        }
    }

    /// A new id on this loop, without a cell yet. None if all slots are in use.
    pub(crate) fn give(&self, on: u8) -> Option<ServiceId> {
        let slot = self.free_slot()?;
        let word = self.make(slot);
        let generation = word.load(Ordering::Relaxed) >> 32;
        let value = generation << 32 | LIVE | u64::from(on) << LOOP_SHIFT | NO_CELL;
        word.store(value, Ordering::Release);
        Some(ServiceId::new(
            slot,
            u32::try_from(generation).unwrap_or_default(),
        ))
    }

    fn free_slot(&self) -> Option<u32> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.slots.len() > RESTING || free.next == SLOTS {
            return free.slots.pop_front();
        }
        free.next += 1;
        Some(free.next - 1)
    }

    /// The service has got its cell.
    pub(crate) fn set_cell(&self, id: ServiceId, cell: u32) {
        if let Some(word) = self.word(id) {
            let value = word.load(Ordering::Relaxed) & !NO_CELL;
            word.store(value | u64::from(cell), Ordering::Release);
        }
    }

    /// Only the service's loop calls it.
    pub(crate) fn set_full(&self, id: ServiceId, is_full: bool) {
        if let Some(word) = self.word(id) {
            let value = word.load(Ordering::Relaxed) & !FULL;
            word.store(value | if is_full { FULL } else { 0 }, Ordering::Release);
        }
    }

    /// Ends the id: from here on it is nobody's.
    pub(crate) fn free(&self, id: ServiceId) {
        let Some(word) = self.word(id) else { return };
        let generation = (id.generation() + 1) % GENERATIONS;
        word.store(u64::from(generation) << 32, Ordering::Release);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.slots.push_back(id.slot());
    }

    /// Where a service is. None if it is gone or never was.
    #[inline]
    pub(crate) fn place(&self, id: ServiceId) -> Option<Place> {
        let value = self.word(id)?.load(Ordering::Acquire);
        if value & LIVE == 0 || value >> 32 != u64::from(id.generation()) {
            return None;
        }
        let cell = value & NO_CELL;
        Some(Place {
            on: (value >> LOOP_SHIFT) as u8,
            cell: (cell != NO_CELL).then_some(cell as u32),
            is_full: value & FULL != 0,
        })
    }

    /// All that live, in the order of their slots.
    pub(crate) fn all(&self) -> Vec<ServiceId> {
        let next = {
            let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            free.next
        };
        let live = |slot| {
            let value = self.word_of(slot)?.load(Ordering::Acquire);
            let generation = u32::try_from(value >> 32).ok()?;
            (value & LIVE != 0).then(|| ServiceId::new(slot, generation))
        };
        (1..next).filter_map(live).collect()
    }

    #[inline]
    fn word(&self, id: ServiceId) -> Option<&AtomicU64> {
        self.word_of(id.slot())
    }

    #[inline]
    fn word_of(&self, slot: u32) -> Option<&AtomicU64> {
        let block = self.blocks.get((slot / BLOCK) as usize)?.get()?;
        block.get((slot % BLOCK) as usize)
    }

    fn make(&self, slot: u32) -> &AtomicU64 {
        let block = self.blocks[(slot / BLOCK) as usize]
            .get_or_init(|| (0..BLOCK).map(|_| AtomicU64::new(0)).collect());
        &block[(slot % BLOCK) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_given_found_and_ended() {
        let table = Table::new();
        let id = table.give(3).expect("there is room");
        let mut place = Place {
            on: 3,
            cell: None,
            is_full: false,
        };
        assert_eq!(table.place(id), Some(place));
        table.set_cell(id, 77);
        table.set_full(id, true);
        (place.cell, place.is_full) = (Some(77), true);
        assert_eq!(table.place(id), Some(place));
        assert_eq!(table.all(), [id]);
        table.free(id);
        assert_eq!(table.place(id), None);
        assert_eq!(table.all(), []);
    }

    #[test]
    fn an_id_does_not_come_back_soon() {
        let table = Table::new();
        let first = table.give(0).expect("there is room");
        table.free(first);
        for _ in 0..3 * RESTING {
            let id = table.give(0).expect("there is room");
            assert_ne!(id, first);
            table.free(id);
        }
    }

    #[test]
    fn numbers_that_were_never_given_are_nobodys() {
        let table = Table::new();
        for number in [0, 1, 77, u32::MAX] {
            assert_eq!(table.place(ServiceId::from_number(number)), None);
        }
    }
}
