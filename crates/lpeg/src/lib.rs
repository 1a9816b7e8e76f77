//! Parsing expression grammars: patterns as LPeg has them, and a machine that matches them.
//!
//! A [`Peg`] is made of others, as in Lua `lpeg.P` and its operators do it. [`PegCode`] is a pattern as instructions, and a [`Matcher`] runs
//! them over a subject. The machine is the one of "A Text Pattern-Matching Tool based on Parsing Expression Grammars" (R. Ierusalimschy,
//! Software: Practice and Experience 39, 2009).
//!
//! A match yields [`Capture`]s: places in the subject and keys. What a key stands for, and what becomes of a capture, is the caller's matter.
//! The matcher calls nobody: it stops where a function decides about a match, and after a while so that its caller may end it.
//!
//! This crate knows nothing of Lua.
//!
//! The modules, from top to bottom; none uses one above it:
//!
//! - `invariants`: what holds for any pattern and any subject; `naive`: a slow matcher that it compares with
//! - `matcher`: runs instructions
//! - `compiler`: makes them of a pattern
//! - `first`: with which bytes a pattern can begin
//! - `instruction`: what they are
//! - `grammar`: patterns that call each other
//! - `peg`: how patterns are made
//! - `node`: what they are made of
//! - `capture`: what a match yields
//! - `utf8`: code points
//! - `byte_set`: sets of bytes

#![forbid(unsafe_code)]

mod byte_set;
mod capture;
mod compiler;
mod first;
mod grammar;
mod instruction;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod invariants;
mod matcher;
#[cfg(any(test, fuzzing))]
mod naive;
mod node;
mod peg;
#[cfg(test)]
mod tests;
mod utf8;

pub use byte_set::ByteSet;
pub use capture::{Capture, CaptureKind, NO_KEY, end_of};
pub use compiler::PegCode;
pub use grammar::grammar;
pub use matcher::{MOST_BACKTRACKS, MOST_CAPTURES, MatchError, MatchEvent, Matcher};
pub use node::{MOST_NESTED, MOST_NODES, PegError};
pub use peg::{LONGEST_BEHIND, MOST_RULES, Peg};
