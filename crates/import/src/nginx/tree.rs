//! Directives, blocks of them, and the files that they include.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::words::{Token, tokens};
use crate::files::Files;
use crate::note::{Place, Report, Reported};

/// Includes within includes.
const DEEPEST: u32 = 16;
/// Blocks within blocks.
const DEEPEST_BLOCK: u32 = 32;
/// Files of one configuration.
const MOST_FILES: usize = 4096;
/// Bytes of all files.
const MOST_BYTES: usize = 64 << 20;

/// `name arguments;` or `name arguments { … }`.
#[derive(Debug, Clone)]
pub(super) struct Directive {
    pub(super) name: String,
    pub(super) arguments: Vec<String>,
    pub(super) block: Option<Vec<Directive>>,
    pub(super) place: Place,
}

impl Directive {
    /// The only argument.
    pub(super) fn one(&self, report: &mut Report) -> Result<&str, Reported> {
        match &self.arguments[..] {
            [one] => Ok(one),
            _ => Err(self.refuse(report, "takes one argument")),
        }
    }

    /// `on` or `off`.
    pub(super) fn flag(&self, report: &mut Report) -> Result<bool, Reported> {
        match self.one(report)?.to_ascii_lowercase().as_str() {
            "on" => Ok(true),
            "off" => Ok(false),
            other => Err(self.refuse(report, format!("is \"on\" or \"off\", not {other:?}"))),
        }
    }

    /// Reports that the directive is wrong.
    pub(super) fn refuse(&self, report: &mut Report, why: impl AsRef<str>) -> Reported {
        report.error(&self.place, format!("`{}` {}", self.name, why.as_ref()))
    }

    /// The directives of its block.
    pub(super) fn block(&self, report: &mut Report) -> Result<&[Directive], Reported> {
        match &self.block {
            Some(block) => Ok(block),
            None => Err(self.refuse(report, "has no block")),
        }
    }
}

/// Reads files, and what they include.
pub(super) struct Tree<'a> {
    pub(super) files: &'a mut dyn Files,
    /// Where relative paths of `include` begin.
    pub(super) folder: &'a Path,
    read: usize,
    bytes: usize,
}

impl<'a> Tree<'a> {
    pub(super) fn new(files: &'a mut dyn Files, folder: &'a Path) -> Self {
        Self {
            files,
            folder,
            read: 0,
            bytes: 0,
        }
    }

    /// The directives of a text.
    pub(super) fn parse(
        &mut self,
        file: &Arc<str>,
        text: &str,
        report: &mut Report,
    ) -> Result<Vec<Directive>, Reported> {
        let tokens = tokens(file, text);
        let tokens = tokens.map_err(|note| report.error(&note.place, note.message))?;
        let mut parser = Parser {
            file,
            tokens: tokens.into_iter().peekable(),
            last_line: 1,
        };
        let directives = parser.directives(0, report)?;
        Ok(directives)
    }

    /// The directives with those of the files that they include in place of `include`.
    pub(super) fn expand(
        &mut self,
        directives: Vec<Directive>,
        report: &mut Report,
    ) -> Vec<Directive> {
        let mut expanded = Vec::new();
        self.expand_into(directives, 0, &mut expanded, report);
        expanded
    }

    fn expand_into(
        &mut self,
        directives: Vec<Directive>,
        depth: u32,
        expanded: &mut Vec<Directive>,
        report: &mut Report,
    ) {
        for directive in directives {
            if directive.name != "include" || directive.block.is_some() {
                expanded.push(directive);
                continue;
            }
            // Each error is reported, and the others are found too.
            let _ = self.include(&directive, depth, expanded, report);
        }
    }

    fn include(
        &mut self,
        directive: &Directive,
        depth: u32,
        expanded: &mut Vec<Directive>,
        report: &mut Report,
    ) -> Result<(), Reported> {
        let pattern = self.folder.join(directive.one(report)?);
        if depth >= DEEPEST {
            return Err(directive.refuse(report, "is nested too deeply"));
        }
        for path in self.included(directive, &pattern, report)? {
            let shown: Arc<str> = self.shown(&path).into();
            let text = self.files.read(&path).map_err(|error| {
                report.error(
                    &directive.place,
                    format!("`{shown}` cannot be read: {error}"),
                )
            })?;
            self.read += 1;
            self.bytes += text.len();
            if self.read > MOST_FILES || self.bytes > MOST_BYTES {
                return Err(directive.refuse(report, "brings too many files"));
            }
            // Its own errors are reported there.
            let Ok(directives) = self.parse(&shown, &text, report) else {
                continue;
            };
            self.expand_into(directives, depth + 1, expanded, report);
        }
        Ok(())
    }

    fn included(
        &mut self,
        directive: &Directive,
        pattern: &Path,
        report: &mut Report,
    ) -> Result<Vec<PathBuf>, Reported> {
        let text = pattern.to_string_lossy();
        if !text.contains(['*', '?', '[']) {
            return Ok(vec![pattern.to_owned()]);
        }
        let found = self.files.matching(pattern).map_err(|error| {
            report.error(
                &directive.place,
                format!("`{text}` cannot be read: {error}"),
            )
        })?;
        if found.is_empty() {
            let text = format!("`{text}` matches no file: see `--folder`");
            report.remark(&directive.place, text);
        }
        Ok(found)
    }

    /// Paths within the main file's folder are shown without it.
    fn shown(&self, path: &Path) -> String {
        let path = path.strip_prefix(self.folder).unwrap_or(path);
        path.to_string_lossy().into_owned()
    }
}

struct Parser<'a> {
    file: &'a Arc<str>,
    tokens: std::iter::Peekable<std::vec::IntoIter<(Token, u32)>>,
    last_line: u32,
}

impl Parser<'_> {
    fn directives(&mut self, depth: u32, report: &mut Report) -> Result<Vec<Directive>, Reported> {
        let mut directives = Vec::new();
        loop {
            let Some((token, line)) = self.tokens.next() else {
                return match depth {
                    0 => Ok(directives),
                    _ => Err(report.error(&self.place(self.last_line), "a `}` is missing")),
                };
            };
            self.last_line = line;
            let place = self.place(line);
            match token {
                Token::Close if depth > 0 => return Ok(directives),
                Token::Word(name) => directives.push(self.directive(name, place, depth, report)?),
                Token::Close => return Err(report.error(&place, "unexpected `}`")),
                Token::Open => return Err(report.error(&place, "unexpected `{`")),
                Token::End => return Err(report.error(&place, "unexpected `;`")),
            }
        }
    }

    fn directive(
        &mut self,
        name: String,
        place: Place,
        depth: u32,
        report: &mut Report,
    ) -> Result<Directive, Reported> {
        let mut arguments = Vec::new();
        let block = loop {
            let Some((token, line)) = self.tokens.next() else {
                let message = format!("`{name}` has no end: a `;` or a block is missing");
                return Err(report.error(&place, message));
            };
            self.last_line = line;
            match token {
                Token::Word(word) => arguments.push(word),
                Token::End => break None,
                Token::Open if depth >= DEEPEST_BLOCK => {
                    return Err(report.error(&place, "blocks are nested too deeply"));
                }
                Token::Open => break Some(self.directives(depth + 1, report)?),
                Token::Close => {
                    let message = format!("unexpected `}}`: `{name}` has no `;`");
                    return Err(report.error(&self.place(line), message));
                }
            }
        };
        Ok(Directive {
            name,
            arguments,
            block,
            place,
        })
    }

    fn place(&self, line: u32) -> Place {
        let file = self.file.clone();
        Place { file, line }
    }
}
