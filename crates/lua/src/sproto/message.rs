//! The bytes of a sproto message: fields by tag, whose value is small or follows them.

/// A field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot<'a> {
    /// Up to 32,766.
    Small(u16),
    Data(&'a [u8]),
}

/// The fields of a message, in the order of their tags, and how many bytes they are. None if the bytes are no message.
pub(super) fn fields(bytes: &[u8]) -> Option<(Vec<(u32, Slot<'_>)>, usize)> {
    let (count, rest) = bytes.split_first_chunk::<2>()?;
    let count = usize::from(u16::from_le_bytes(*count));
    let (heads, mut data) = rest.split_at_checked(2 * count)?;
    let mut fields = Vec::new();
    let mut tag = 0;
    for head in heads.as_chunks::<2>().0 {
        let head = u16::from_le_bytes(*head);
        if head % 2 == 1 {
            tag += u32::from(head / 2) + 1;
            continue;
        }
        let slot = match head {
            0 => Slot::Data(part(&mut data)?),
            head => Slot::Small(head / 2 - 1),
        };
        fields.push((tag, slot));
        tag += 1;
    }
    Some((fields, bytes.len() - data.len()))
}

/// The elements of an array of texts or of structures.
pub(super) fn parts(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        parts.push(part(&mut bytes)?);
    }
    Some(parts)
}

fn part<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *bytes = rest;
    Some(part)
}

/// A message that is being made: tags come in order.
#[derive(Debug, Default)]
pub(super) struct Draft {
    heads: Vec<u8>,
    data: Vec<u8>,
    next: u16,
}

impl Draft {
    pub(super) fn small(&mut self, tag: u16, value: u16) {
        self.head(tag, (value + 1) * 2);
    }

    pub(super) fn data(&mut self, tag: u16, data: &[u8]) {
        self.head(tag, 0);
        append(&mut self.data, data);
    }

    fn head(&mut self, tag: u16, head: u16) {
        let skipped = tag - self.next;
        if skipped > 0 {
            self.heads.extend(((skipped - 1) * 2 + 1).to_le_bytes());
        }
        self.heads.extend(head.to_le_bytes());
        self.next = tag + 1;
    }

    /// Its bytes so far.
    pub(super) fn len(&self) -> usize {
        2 + self.heads.len() + self.data.len()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        bytes.extend(((self.heads.len() / 2) as u16).to_le_bytes());
        bytes.extend(self.heads);
        bytes.extend(self.data);
        bytes
    }
}

/// Appends an element of an array.
pub(super) fn append(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend((part.len() as u32).to_le_bytes());
    bytes.extend_from_slice(part);
}

/// The greatest tag and the greatest small value: what a head has room for.
pub(super) const GREATEST: u16 = 0x7ffe;
