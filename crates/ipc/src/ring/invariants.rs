//! What holds whatever the other side writes, and wherever.

use std::sync::atomic::Ordering::Relaxed;

use arbitrary::{Result, Unstructured};

use super::*;

/// Any steps of both sides, and between them anything anywhere in the shared memory: no panic, nothing
/// outside the ring, and what comes out are records that could be some, or an error that stays.
pub fn ring(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let capacity = match input.arbitrary::<u8>().unwrap_or_default() % 3 {
        0 => Memory::MIN_CAPACITY,
        1 => 2 * Memory::MIN_CAPACITY,
        _ => 16 * Memory::MIN_CAPACITY,
    };
    let mut ring = Ring::new(capacity);
    while !input.is_empty() {
        if ring.step(&mut input).is_err() {
            return;
        }
    }
}

/// Both sides of a ring, and its memory.
struct Ring {
    capacity: usize,
    producer: Producer,
    consumer: Consumer,
    memory: Memory,
}

impl Ring {
    fn new(capacity: usize) -> Self {
        let memory = Memory::plain(capacity);
        Self {
            capacity,
            producer: Producer::new(memory.clone()).remembering(),
            consumer: Consumer::new(memory.clone()),
            memory,
        }
    }

    fn step(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        match input.arbitrary::<u8>()? % 12 {
            0 => {
                let at = input.arbitrary::<u16>()?.into();
                let length = usize::from(input.arbitrary::<u8>()?).min(input.len());
                self.memory.scribble(at, input.bytes(length)?);
            }
            1 => self.claim(input)?,
            2 => {
                let control = self.memory.control();
                let head = &control.head.0;
                head.store(any_position(input, head.load(Relaxed))?, Relaxed);
            }
            3 => {
                let control = self.memory.control();
                let tail = &control.tail.0;
                tail.store(any_position(input, tail.load(Relaxed))?, Relaxed);
            }
            4 => {
                let control = self.memory.control();
                control.sleeping.0.store(input.arbitrary()?, Relaxed);
                control.waiting.0.store(input.arbitrary()?, Relaxed);
            }
            5 | 6 => {
                let length = usize::from(input.arbitrary::<u16>()?) % (self.capacity / 2);
                let _ = self.producer.push(&Header::default(), &[&vec![1; length]]);
            }
            7 => {
                let _ = self.producer.publish();
            }
            8 | 9 => self.take(),
            10 => self.ask(input.arbitrary::<u16>()?.into()),
            _ => self.untaken(),
        }
        Ok(())
    }

    /// The first word of a record, anywhere.
    fn claim(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let at = usize::from(input.arbitrary::<u16>()?) * WORD as usize;
        let length = match input.arbitrary::<u16>()? {
            u16::MAX => PADDING,
            0xfffe => PADDING - 1,
            length => length.into(),
        };
        let rest: u32 = input.arbitrary()?;
        let first = u64::from(length) | u64::from(rest) << 32;
        self.memory.scribble(at, &first.to_le_bytes());
        Ok(())
    }

    fn take(&mut self) {
        // Every record takes up some of the ring, so this ends.
        for _ in 0..self.capacity / HEADER as usize {
            let longest = self.producer.max_payload();
            let taken = self.consumer.next();
            let taken = taken.map(|record| record.map(|record| assert_plausible(&record, longest)));
            match taken {
                Ok(Some(())) => {}
                Ok(None) => {
                    assert!(self.consumer.is_empty());
                    break;
                }
                Err(corrupt) => {
                    assert_eq!(self.consumer.next().unwrap_err(), corrupt);
                    assert!(!self.consumer.is_empty() && !self.consumer.begin_sleep());
                    assert!(!corrupt.to_string().is_empty());
                    break;
                }
            }
        }
        let _ = self.consumer.end_turn();
    }

    fn ask(&mut self, payload: usize) {
        let was_corrupt = self.producer.check();
        let fits = self.producer.fits(payload);
        assert!(!fits || payload <= self.producer.max_payload());
        let _ = (
            self.producer.wait_for_room(payload),
            self.producer.is_consumed(),
        );
        if was_corrupt.is_err() {
            // Nothing makes room any more.
            assert!(self.producer.check().is_err());
            assert_eq!(self.producer.fits(payload), fits);
        }
        let _ = (self.consumer.is_empty(), self.consumer.begin_sleep());
        self.consumer.awake();
        if let Some(mut last) = self.producer.last_unseen() {
            let header = Header {
                kind: 7,
                ..Header::default()
            };
            last.set_header(header);
            assert_eq!(last.header(), header);
        }
    }

    fn untaken(&mut self) {
        let mut bytes = 0;
        let each = &mut |_, payload: &[u8]| bytes += record_size(payload.len() as u64);
        let _ = self.producer.untaken(each);
        // A consumer that claims to be in the middle of a record has not taken it, and the newest may have overwritten its
        // beginning.
        assert!(bytes <= (self.capacity + self.capacity / 2) as u64);
    }
}

/// A position near the real one, or out of the blue.
fn any_position(input: &mut Unstructured<'_>, real: u64) -> Result<u64> {
    let steps: i16 = input.arbitrary()?;
    Ok(match steps {
        i16::MIN => input.arbitrary()?,
        // Not a record's end.
        0 => real.wrapping_add(1),
        steps => real.wrapping_add_signed(i64::from(steps) * WORD as i64),
    })
}

/// A record as it may look when its words are anybody's.
fn assert_plausible(record: &Record<'_>, longest: usize) {
    assert!(record.len() <= longest);
    let mut out = Vec::new();
    record.copy_to(&mut out);
    record.copy_from(record.len() / 2, &mut out);
    assert_eq!(out.len(), record.len() + record.len().div_ceil(2));
    let mut head = [0; 64];
    let copied = record.head(&mut head);
    assert_eq!(head[..copied], out[..record.len().min(64)]);
}
