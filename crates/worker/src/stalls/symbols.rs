//! Names for the addresses on a stack.
//!
//! The executable is read through the descriptor that was opened when the process began. Its path may lead to another
//! build by now, or be unreachable for the user that the process has become.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

use addr2line::Loader;

use super::frames::{Frame, Stack};

/// The mappings of this process, and the symbols of them that were needed so far.
pub(crate) struct Symbols {
    mapped: Vec<Mapped>,
    loaders: RefCell<HashMap<String, Option<Loader>>>,
}

/// A part of a file that is mapped and may be executed.
struct Mapped {
    addresses: Range<usize>,
    /// Where the file begins.
    base: usize,
    /// Its name, and the path to read it from.
    name: String,
    file: String,
}

impl Symbols {
    /// Reads the mappings. If `/proc` is not there, addresses stay addresses.
    pub(crate) fn load(executable: Option<BorrowedFd<'_>>) -> Self {
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let own = fs::read_link("/proc/self/exe").unwrap_or_default();
        let own = own.to_string_lossy();
        let open = executable.map(|fd| format!("/proc/self/fd/{}", fd.as_raw_fd()));
        let mut bases: HashMap<&str, usize> = HashMap::new();
        let mut mapped = Vec::new();
        for line in maps.lines() {
            let Some((addresses, rights, offset, name)) = parse(line) else {
                continue;
            };
            let base = *bases
                .entry(name)
                .or_insert_with(|| addresses.start.saturating_sub(offset));
            if rights.contains('x') && name.starts_with('/') {
                let file = match &open {
                    Some(open) if name == own => open.clone(),
                    _ => name.to_owned(),
                };
                let name = name.to_owned();
                mapped.push(Mapped {
                    addresses,
                    base,
                    name,
                    file,
                });
            }
        }
        Self {
            mapped,
            loaders: RefCell::default(),
        }
    }

    /// Reads early what will be asked for first.
    pub(super) fn load_executable(&self) {
        if let Some(first) = self.mapped.first() {
            self.frames(first.addresses.start);
        }
    }

    /// The text of these stacks. Each has its innermost address first.
    pub(crate) fn stack(&self, stacks: &[Vec<usize>]) -> Stack {
        let frames = |addresses: &Vec<usize>| {
            let frames = addresses.iter().flat_map(|&address| self.frames(address));
            Stack::of(frames)
        };
        Stack::joined(stacks.iter().map(frames))
    }

    /// The frames at an address: several where functions were inlined.
    fn frames(&self, address: usize) -> Vec<Frame> {
        let place = |mapped: &&Mapped| mapped.addresses.contains(&address);
        let Some(mapped) = self.mapped.iter().find(place) else {
            return vec![Frame::nameless(format!("{address:#x}"))];
        };
        let offset = (address - mapped.base) as u64;
        let mut loaders = self.loaders.borrow_mut();
        let loader = loaders
            .entry(mapped.file.clone())
            .or_insert_with(|| Loader::new(&mapped.file).ok());
        let file = mapped.name.rsplit('/').next().unwrap_or_default();
        let Some(loader) = loader else {
            return vec![Frame::nameless(format!("{file}+{offset:#x}"))];
        };
        let symbol = loader
            .find_symbol(offset)
            .map(|name| addr2line::demangle_auto(name.into(), None).into_owned());
        let mut frames = Vec::new();
        if let Ok(mut found) = loader.find_frames(offset) {
            while let Ok(Some(frame)) = found.next() {
                let function = frame.function.as_ref();
                let function = function.and_then(|name| Some(name.demangle().ok()?.into_owned()));
                let file = frame.location.as_ref().and_then(|place| place.file);
                let line = frame.location.as_ref().and_then(|place| place.line);
                frames.push(Frame {
                    function: function.unwrap_or_else(|| "?".to_owned()),
                    file: file.map(str::to_owned),
                    line,
                });
            }
        }
        match (frames.last_mut(), symbol) {
            // The linker knows the whole name of the function that the others were inlined into.
            (Some(outermost), Some(symbol)) => outermost.function = symbol,
            (Some(_), None) => {}
            (None, Some(symbol)) => frames.push(Frame::nameless(format!("{symbol} ({file})"))),
            (None, None) => frames.push(Frame::nameless(format!("{file}+{offset:#x}"))),
        }
        frames
    }
}

/// `start-end rights offset device inode name`.
fn parse(line: &str) -> Option<(Range<usize>, &str, usize, &str)> {
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    let addresses = number(start)?..number(end)?;
    let (rights, offset) = (words.next()?, number(words.next()?)?);
    let name = words.nth(2)?.trim_start();
    Some((addresses, rights, offset, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_of_ours_is_named_with_its_line() {
        let address = parse as fn(&str) -> Option<(Range<usize>, &str, usize, &str)> as usize;
        let lines = Symbols::load(None).stack(&[vec![address]]).lines;
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("symbols::parse"), "{lines:?}");
        assert!(lines[0].contains("symbols.rs:"), "{lines:?}");
    }

    #[test]
    fn an_unmapped_address_stays_an_address() {
        assert_eq!(Symbols::load(None).stack(&[vec![16]]).lines, ["0x10"]);
    }
}
