//! Which setting holds in a server: its own, else that of the `stream` block.

use super::context::Context;
use super::tree::Directive;
use super::value;
use crate::note::Reported;
use crate::number::number;

/// A server within its `stream` block.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) outer: &'a [Directive],
    pub(super) inner: &'a [Directive],
}

impl<'a> Scope<'a> {
    /// Those of a directive that may be written several times. If the server has one, only its own hold.
    pub(super) fn all(self, name: &str) -> Vec<&'a Directive> {
        self.any_of(&[name])
    }

    /// The same of directives that belong together.
    pub(super) fn any_of(self, names: &[&str]) -> Vec<&'a Directive> {
        let named = |directives: &'a [Directive]| -> Vec<_> {
            directives
                .iter()
                .filter(|it| names.contains(&&it.name[..]))
                .collect()
        };
        let own = named(self.inner);
        match own.is_empty() {
            true => named(self.outer),
            false => own,
        }
    }

    /// One that may be written once in each block.
    pub(super) fn one(self, name: &str, cx: &mut Context<'_>) -> Option<&'a Directive> {
        let all = self.all(name);
        for more in all.iter().skip(1) {
            more.refuse(&mut cx.report, "is written twice");
        }
        all.first().copied()
    }

    /// `on` or `off`, and where; `None` if it is not written or wrong.
    pub(super) fn flag(self, name: &str, cx: &mut Context<'_>) -> Option<(bool, &'a Directive)> {
        let directive = self.one(name, cx)?;
        let flag = directive.flag(&mut cx.report).ok()?;
        Some((flag, directive))
    }

    /// A time in milliseconds.
    pub(super) fn time(self, name: &str, cx: &mut Context<'_>) -> Option<(u64, &'a Directive)> {
        let what = "takes a time, such as 10s or 500ms";
        self.parsed(name, cx, what, value::time)
    }

    /// A size in bytes.
    pub(super) fn size(self, name: &str, cx: &mut Context<'_>) -> Option<(u64, &'a Directive)> {
        self.parsed(name, cx, "takes a size, such as 16k or 1m", value::size)
    }

    /// A whole number.
    pub(super) fn number(self, name: &str, cx: &mut Context<'_>) -> Option<(u64, &'a Directive)> {
        self.parsed(name, cx, "takes a whole number", number)
    }

    fn parsed<T>(
        self,
        name: &str,
        cx: &mut Context<'_>,
        what: &str,
        parse: fn(&str) -> Option<T>,
    ) -> Option<(T, &'a Directive)> {
        let directive = self.one(name, cx)?;
        let parsed = directive.one(&mut cx.report).and_then(|text| {
            parse(text).ok_or_else(|| -> Reported { directive.refuse(&mut cx.report, what) })
        });
        Some((parsed.ok()?, directive))
    }
}
